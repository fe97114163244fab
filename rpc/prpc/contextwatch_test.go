package prpc

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watchedCarrier shows the test each message when it is written, before that returns.
type watchedCarrier struct {
	incoming  chan []byte
	written   func(m *message)
	closed    chan struct{}
	closeOnce sync.Once
}

func (w *watchedCarrier) Receive() ([]byte, error) {
	select {
	case b := <-w.incoming:
		return b, nil
	case <-w.closed:
		return nil, io.EOF
	}
}

func (w *watchedCarrier) Send(messages [][]byte) error {
	for _, b := range messages {
		limits, _ := Limits{}.withDefaults()
		m, err := parseMessage(bytes.Clone(b), &limits)
		if err != nil {
			return err
		}
		w.written(&m)
	}
	return nil
}

func (w *watchedCarrier) trySend(messages ...[]byte) bool { return w.Send(messages) == nil }

func (w *watchedCarrier) Close(CloseCode) error {
	w.closeOnce.Do(func() { close(w.closed) })
	return nil
}

// TestContextThatEndsBeforeItsCallIsSent: a call that its context's watch has not cancelled, since its message was on the way, is
// cancelled all the same, and the peer hears of that after the call.
func TestContextThatEndsBeforeItsCallIsSent(t *testing.T) {
	w := &watchedCarrier{incoming: make(chan []byte, 10), closed: make(chan struct{})}
	w.written = func(m *message) {
		hello, err := appendHandshake(head(nil, ResponseHandshake, m.id), "id", nil)
		assert.NoError(t, err)
		w.incoming <- append(hello, byte(StatusSuccess), 0xc0)
	}
	c, err := Connect(t.Context(), w, nil)
	require.NoError(t, err)
	defer c.Close()
	s := c.session
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	// Two calls at a time have the session look after their context.
	var mu sync.Mutex
	var ids []callID
	w.written = func(m *message) {
		mu.Lock()
		defer mu.Unlock()
		if ids = append(ids, m.id); len(ids) == 2 {
			for _, id := range ids {
				answer, err := appendResult(nil, id, nil)
				assert.NoError(t, err)
				w.incoming <- answer
			}
		}
	}
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			_, err := c.Call(ctx, "m")
			assert.NoError(t, err)
		})
	}
	callers.Wait()
	watched := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.watch != nil
	}
	require.True(t, watched())
	// The next call writes its message itself if the sender has done.
	require.Eventually(t, func() bool {
		s.queue.mu.Lock()
		defer s.queue.mu.Unlock()
		return !s.queue.writing
	}, 10*time.Second, time.Millisecond)

	kinds := make(chan MessageType, 2)
	w.written = func(m *message) {
		kinds <- m.kind
		if m.kind == RequestCallStart {
			cancel()
			assert.Eventually(t, func() bool { return !watched() }, 10*time.Second, time.Millisecond)
			assert.Equal(t, 1, c.Active(), "it has not been sent yet")
		}
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, "m")
		failed <- err
	}()
	for _, want := range []MessageType{RequestCallStart, RequestCallCancel} {
		select {
		case kind := <-kinds:
			assert.Equal(t, want, kind)
		case <-time.After(10 * time.Second):
			t.Fatalf("no %v", want)
		}
	}
	require.ErrorIs(t, <-failed, context.Canceled)
	assert.Zero(t, c.Active())
}
