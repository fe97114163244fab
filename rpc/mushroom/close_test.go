package mushroom_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestPendingRequestsFailAtTheEnd(t *testing.T) {
	s, peer, lines := bare(t, nil)
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := s.Request(context.Background(), "m", nil)
			errs <- err
		}()
	}
	for range 3 {
		require.True(t, lines.Scan())
	}
	tell(t, peer, `[-1]`)
	for range 3 {
		err := <-errs
		assert.ErrorIs(t, err, mushroom.ErrSessionEnded)
		assert.ErrorIs(t, err, mushroom.ErrDisconnected)
		assert.Same(t, s.Err(), err, "one value for everybody")
	}
	<-s.Done()
	_, err := s.Request(testContext(t), "m", nil)
	assert.Same(t, s.Err(), err)
	assert.ErrorIs(t, s.Flush(testContext(t)), mushroom.ErrDisconnected)
}

func TestCloseFromAHandler(t *testing.T) {
	a, b := pair(t, nil, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		return nil, r.Session.Close()
	}))
	_, err := a.Request(testContext(t), "m", nil)
	assert.ErrorIs(t, err, mushroom.ErrDisconnected)
	<-b.Done()
	assert.ErrorIs(t, b.Err(), mushroom.ErrClosed)
	assert.NoError(t, b.Close(), "again")
}

// TestCloseLosesNothing: what was sent before Close arrives, and its handlers run with a live context.
func TestCloseLosesNothing(t *testing.T) {
	var got []string
	a, b := pair(t, nil, serving(func(ctx context.Context, r *mushroom.Request) (any, error) {
		got = append(got, r.Method)
		return nil, ctx.Err()
	}))
	for n := range 500 {
		require.NoError(t, a.Notify(fmt.Sprint(n), nil))
	}
	require.NoError(t, a.Close())
	<-b.Done()
	assert.Len(t, got, 500)
}

func TestHandlersAreCancelledAtTheEnd(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	a, b := pair(t, nil, serving(func(ctx context.Context, _ *mushroom.Request) (any, error) {
		close(started)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, nil
	}))
	go func() { _, _ = a.Request(context.Background(), "m", nil) }()
	<-started
	require.NoError(t, a.Close())
	assert.Same(t, <-ended, b.Err())
}

// TestNotificationsHaveATimeToEnd: a notification's handler that does not return is cancelled in the end.
func TestNotificationsHaveATimeToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		a, b := pair(t, nil, serving(func(ctx context.Context, _ *mushroom.Request) (any, error) {
			close(started)
			<-ctx.Done()
			return nil, nil
		}))
		require.NoError(t, a.Notify("m", nil))
		<-started
		start := time.Now()
		require.NoError(t, a.Close())
		<-b.Done()
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

// TestCloseIsBounded: a peer that reads nothing cannot hold Close up.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := bare(t, nil)
		require.NoError(t, s.Notify("m", nil))
		start := time.Now()
		assert.ErrorContains(t, s.Close(), "could not be written")
		assert.Equal(t, 5*time.Second, time.Since(start))
		<-s.Done()
	})
}

// TestPeerThatReadsNothing ends the session when a write takes too long.
func TestPeerThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer, _ := bare(t, nil)
		require.NoError(t, peer.SetDeadline(time.Time{}))
		start := time.Now()
		require.NoError(t, s.Notify("m", nil))
		<-s.Done()
		assert.Equal(t, 30*time.Second, time.Since(start))
		assert.ErrorContains(t, s.Err(), "write")
	})
}
