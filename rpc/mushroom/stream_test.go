package mushroom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// pair is two sessions over one stream.
func pair(t *testing.T, a, b *mushroom.StreamOptions) (*mushroom.Session, *mushroom.Session) {
	t.Helper()
	left, right := net.Pipe()
	one, err := mushroom.NewStream(left, a)
	require.NoError(t, err)
	two, err := mushroom.NewStream(right, b)
	require.NoError(t, err)
	t.Cleanup(func() {
		closeSession(t, one)
		closeSession(t, two)
	})
	return one, two
}

func serving(f mushroom.HandlerFunc) *mushroom.StreamOptions {
	return &mushroom.StreamOptions{Dispatcher: f}
}

// bare is a session whose peer is the test itself, line by line.
func bare(t *testing.T, opts *mushroom.StreamOptions) (s *mushroom.Session, peer net.Conn, lines *bufio.Scanner) {
	t.Helper()
	left, right := net.Pipe()
	s, err := mushroom.NewStream(left, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		right.Close()
		_ = s.Close()
		<-s.Done()
	})
	require.NoError(t, right.SetDeadline(time.Now().Add(30*time.Second)))
	lines = bufio.NewScanner(right)
	lines.Buffer(nil, 1<<22)
	return s, right, lines
}

func tell(t *testing.T, peer io.Writer, lines ...string) {
	t.Helper()
	_, err := io.WriteString(peer, strings.Join(lines, "\n")+"\n")
	require.NoError(t, err)
}

func hear(t *testing.T, lines *bufio.Scanner, want ...string) {
	t.Helper()
	for _, line := range want {
		require.True(t, lines.Scan(), "want %s: %v", line, lines.Err())
		require.JSONEq(t, line, lines.Text())
	}
}

func TestStreamCallsBothWays(t *testing.T) {
	ctx := testContext(t)
	echo := serving(func(_ context.Context, r *mushroom.Request) (any, error) { return r.Data, nil })
	a, b := pair(t, echo, echo)
	assert.Equal(t, "stream", a.Transport())
	assert.Empty(t, a.ID())
	var all sync.WaitGroup
	for _, s := range []*mushroom.Session{a, b} {
		for n := range 200 {
			all.Go(func() {
				got, err := mushroom.Call[int](ctx, s, "m", n)
				assert.NoError(t, err)
				assert.Equal(t, n, got)
			})
		}
	}
	all.Wait()
	require.NoError(t, a.Flush(ctx))
	require.NoError(t, b.Flush(ctx))
}

func TestStreamRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		say  string
		want error
	}{
		"no JSON":           {"{\n", mushroom.ErrBadMessage},
		"bad message":       {"[9]\n", mushroom.ErrBadMessage},
		"long line":         {"[1,0,\"" + strings.Repeat("x", 200) + "\"]\n", mushroom.ErrTooLarge},
		"line without end":  {strings.Repeat("[", 8192), mushroom.ErrTooLarge},
		"too deep":          {"[1,0,\"m\",[[[[[[]]]]]]]\n", mushroom.ErrBadMessage},
		"text acknowledged": {"[0,\"a\"]\n", mushroom.ErrBadMessage},
		"end inside a line": {"[1,0", io.ErrUnexpectedEOF},
		"end":               {"", mushroom.ErrDisconnected},
	} {
		t.Run(name, func(t *testing.T) {
			s, peer, lines := bare(t, &mushroom.StreamOptions{Limits: mushroom.Limits{MaxMessage: 150, MaxDepth: 5}})
			go func() {
				for lines.Scan() {
				}
			}()
			if name == "text acknowledged" {
				require.NoError(t, s.Notify("m", nil))
			}
			_, _ = io.WriteString(peer, c.say) // the other end may close before it has read all
			if strings.HasPrefix(name, "end") {
				peer.Close()
			}
			<-s.Done()
			assert.ErrorIs(t, s.Err(), c.want)
			if !strings.HasPrefix(name, "end") {
				assert.ErrorIs(t, s.Err(), mushroom.ErrBadMessage)
			}
			assert.ErrorIs(t, s.Err(), mushroom.ErrSessionEnded)
		})
	}
}

// TestReadingPausesWhileHandlersAreBehind: nothing is lost, and no more than the limit is held.
func TestReadingPausesWhileHandlersAreBehind(t *testing.T) {
	open := make(chan struct{})
	got := make(chan string, 1000)
	s, peer, lines := bare(t, &mushroom.StreamOptions{
		Limits: mushroom.Limits{MaxInbox: 10},
		Dispatcher: mushroom.HandlerFunc(func(_ context.Context, r *mushroom.Request) (any, error) {
			<-open
			got <- r.Method
			return nil, nil
		}),
	})
	go func() {
		for lines.Scan() {
		}
	}()
	wrote := make(chan error, 1)
	go func() {
		for n := range 200 {
			if _, err := fmt.Fprintf(peer, "[1,%d,\"%d\"]\n", n, n); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	eventually(t, func() bool { return mushroom.Crowd(s) == 10 }, "full")
	close(open)
	require.NoError(t, <-wrote)
	for n := range 200 {
		require.Equal(t, fmt.Sprint(n), <-got)
	}
}

func TestStreamOptionsAreChecked(t *testing.T) {
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	_, err := mushroom.NewStream(left, &mushroom.StreamOptions{Limits: mushroom.Limits{MaxDepth: 10_001}})
	assert.ErrorContains(t, err, "MaxDepth is 10001, want 1 to 10000")
	_, err = mushroom.NewStream(left, &mushroom.StreamOptions{Limits: mushroom.Limits{MaxInbox: -1}})
	assert.ErrorContains(t, err, "MaxInbox")
	_, err = mushroom.NewStream(left, &mushroom.StreamOptions{RequestTimeout: -1})
	assert.ErrorContains(t, err, "negative")
}

// halves is a stream of two pipes.
type halves struct {
	*io.PipeReader
	*io.PipeWriter
}

func (h halves) Close() error {
	h.PipeReader.Close()
	return h.PipeWriter.Close()
}

// halfOpen is a session whose peer can end its side alone.
func halfOpen(t *testing.T, opts *mushroom.StreamOptions) (s *mushroom.Session, say *io.PipeWriter, lines *bufio.Scanner) {
	t.Helper()
	in, say := io.Pipe()
	heard, out := io.Pipe()
	s, err := mushroom.NewStream(halves{in, out}, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		heard.Close()
		_ = s.Close()
		<-s.Done()
	})
	return s, say, bufio.NewScanner(heard)
}

// TestPeerEndsItsSide: what it asked before is answered, and what it was asked fails at once.
func TestPeerEndsItsSide(t *testing.T) {
	entered, asked, open := make(chan struct{}), make(chan error), make(chan struct{})
	s, say, lines := halfOpen(t, &mushroom.StreamOptions{
		Limits: mushroom.Limits{MaxHandlers: 1},
		Dispatcher: mushroom.HandlerFunc(func(ctx context.Context, r *mushroom.Request) (any, error) {
			if r.Method == "ask" {
				close(entered)
				_, err := r.Session.Request(ctx, "back", nil)
				asked <- err
			}
			<-open
			return r.Method, nil
		}),
	})
	tell(t, say, `[2,0,"ask"]`, `[2,1,"m"]`, `[1,2,"note"]`)
	<-entered
	heard := make(chan string, 100)
	go func() {
		defer close(heard)
		for lines.Scan() {
			heard <- lines.Text()
		}
	}()
	for line := range heard {
		if strings.Contains(line, "back") {
			break
		}
	}
	require.NoError(t, say.Close())
	err := <-asked
	assert.ErrorIs(t, err, mushroom.ErrDisconnected)
	_, again := s.Request(testContext(t), "m", nil)
	assert.Same(t, err, again)
	assert.NoError(t, s.Err(), "it still answers")
	assert.NoError(t, s.Notify("still", nil))
	close(open)
	var answers []string
	for line := range heard {
		if strings.HasPrefix(line, "[3") {
			answers = append(answers, line[strings.LastIndexByte(line, ',')+1:])
		}
	}
	assert.ElementsMatch(t, []string{`"ask"]`, `"m"]`}, answers)
	<-s.Done()
	assert.Same(t, err, s.Err(), "one value for everybody")
}

// TestHandlersOfAPeerThatEndedItsSideAreCancelled: they have a time to answer in.
func TestHandlersOfAPeerThatEndedItsSideAreCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, say, lines := halfOpen(t, serving(func(ctx context.Context, _ *mushroom.Request) (any, error) {
			<-ctx.Done()
			return nil, nil
		}))
		go func() {
			for lines.Scan() {
			}
		}()
		tell(t, say, `[2,0,"m"]`)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, say.Close())
		<-s.Done()
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.ErrorIs(t, s.Err(), mushroom.ErrDisconnected)
	})
}

// TestSendKeepsToOneLine: data and a method's place that were written over several lines do not cut the message up.
func TestSendKeepsToOneLine(t *testing.T) {
	spread := json.RawMessage("{\n\"a\":\n1}")
	s, peer, lines := bare(t, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		return mushroom.Message{Kind: mushroom.KindResponse, RequestID: r.ID, Data: spread}, nil
	}))
	require.NoError(t, s.Send(mushroom.Message{Kind: mushroom.KindNotification, Method: "m", Data: spread}))
	hear(t, lines, `[1,0,"m",{"a":1}]`)
	require.NoError(t, s.Send(mushroom.Message{Kind: mushroom.KindRequest, BadMethod: spread}))
	hear(t, lines, `[2,1,{"a":1},null]`)
	require.Error(t, s.Send(mushroom.Message{Kind: mushroom.KindRequest, BadMethod: json.RawMessage(`"m",`)}))
	tell(t, peer, `[2,0,"m"]`)
	hear(t, lines, `[0,0]`, `[3,2,0,{"a":1}]`)
}

// blockedPeer is a stream without deadlines whose other end reads nothing, and ends its own side once it is written to.
type blockedPeer struct {
	written, closed chan struct{}
	writing, once   sync.Once
}

func (b *blockedPeer) Read([]byte) (int, error) {
	<-b.written
	return 0, io.EOF
}

func (b *blockedPeer) Write([]byte) (int, error) {
	b.writing.Do(func() { close(b.written) })
	<-b.closed
	return 0, io.ErrClosedPipe
}

func (b *blockedPeer) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// TestStreamWithoutDeadlinesHasAnEnd: a write that nobody takes does not keep the session for ever.
func TestStreamWithoutDeadlinesHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s, err := mushroom.NewStream(&blockedPeer{written: make(chan struct{}), closed: make(chan struct{})}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Notify("m", nil))
		defer s.Close()
		select {
		case <-s.Done():
			assert.LessOrEqual(t, time.Since(start), 31*time.Second)
		case <-time.After(time.Hour):
			assert.Fail(t, "the session waits for ever")
		}
	})
}
