package prpc

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unpausing is a carrier of a peer that never stops sending: it makes some calls in one go, then sends what nobody
// answers until it has the answers, and makes the next. Each message is there when it is asked for.
type unpausing struct {
	coming  [][]byte // in one go
	calls   [][]byte // for each time
	between []byte   // what is sent meanwhile
	wanted  int64    // how many answers are to have come before the next calls

	answers   atomic.Int64
	answered  chan struct{} // has a token for each answer
	closed    chan struct{}
	closeOnce sync.Once
}

func (u *unpausing) Receive() ([]byte, error) {
	select {
	case <-u.closed:
		return nil, io.EOF
	default:
	}
	if len(u.coming) == 0 && u.answers.Load() == u.wanted {
		u.coming = u.calls
		u.wanted += int64(len(u.calls))
	}
	if len(u.coming) == 0 {
		return u.between, nil
	}
	m := u.coming[0]
	u.coming = u.coming[1:]
	return m, nil
}

func (u *unpausing) Send(messages [][]byte) error {
	for range messages {
		u.answers.Add(1)
		select {
		case u.answered <- struct{}{}:
		default: // the test has seen enough
		}
	}
	return nil
}

func (u *unpausing) Close(CloseCode) error {
	u.closeOnce.Do(func() { close(u.closed) })
	return nil
}

func (u *unpausing) trySend(messages ...[]byte) bool { return u.Send(messages) == nil }
func (u *unpausing) more() bool                      { return len(u.coming) > 0 }
func (u *unpausing) polled() bool                    { return false }
func (u *unpausing) giveBack()                       {}
func (u *unpausing) beforeWait(func())               {} // it never waits
func (u *unpausing) recent() int                     { return 1 << 10 }

func (u *unpausing) borrow() (message []byte, lent bool, err error) {
	message, err = u.Receive()
	return message, false, err
}

var _ lender = (*unpausing)(nil) // else the test would be of something else

// TestAnswersToAPeerThatNeverPauses leave all the same, though more of them might leave together.
func TestAnswersToAPeerThatNeverPauses(t *testing.T) {
	tree, err := NewTree(Tree{"echo": func(v any) any { return v }})
	require.NoError(t, err)
	handshake, err := appendHandshake(head(nil, RequestHandshake, callID{number: 1}), "", nil)
	require.NoError(t, err)
	const calls, times = 3, 50
	u := &unpausing{
		coming: [][]byte{handshake}, between: head(nil, RequestCallCancel, callID{number: 1000}),
		wanted: 1, answered: make(chan struct{}, 1+calls*times), closed: make(chan struct{}),
	}
	for i := range calls {
		call, err := appendCallStart(nil, callID{number: uint64(2 + i)}, Unary, "echo", []any{i}, nil)
		require.NoError(t, err)
		u.calls = append(u.calls, call)
	}
	c, err := Accept(t.Context(), u, &Options{Methods: tree})
	require.NoError(t, err)
	defer c.Close()
	deadline := time.After(10 * time.Second)
	for i := range 1 + calls*times {
		select {
		case <-u.answered:
		case <-deadline:
			t.Fatalf("%d answers of %d", i, 1+calls*times)
		}
	}
}
