//go:build linux

package endpoint_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// A connection ends in good order after as many requests as it may make, and the next one has as many.
func TestListenerLimitsRequests(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits = endpoint.Limits{MaxRequests: 3, MaxConns: 1}
	release := make(chan struct{})
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		<-release
		return echo(ctx, req)
	})})
	for range 2 {
		conn := dial(t, l, nil)
		var results []*pconn.Result
		for range 5 {
			result, err := conn.Submit(t.Context(), pconn.Request{})
			require.NoError(t, err)
			results = append(results, result)
		}
		require.Eventually(t, func() bool { return conn.Counters().PacketsIn.Load() == 2 }, 5*time.Second, time.Millisecond,
			"two are over the limit, and rejected at once")
		release <- struct{}{}
		release <- struct{}{}
		release <- struct{}{}
		for i, result := range results {
			_, err := result.Wait(t.Context())
			if i < 3 {
				require.NoError(t, err)
				continue
			}
			var rejected *pconn.RemoteError
			require.ErrorAs(t, err, &rejected)
		}
		require.NoError(t, conn.Wait())
	}
}

// A peer with extensions knows that what was over the limit was not begun, and may be asked of another connection.
func TestListenerLimitsRequestsWithExtensions(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits.MaxRequests = 1
	entered, release := make(chan struct{}), make(chan struct{})
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		close(entered)
		<-release
		return echo(ctx, req)
	})})
	conn := dial(t, l, &pconn.Options{Extensions: pconn.ExtensionsRequired})
	first, err := conn.Submit(t.Context(), pconn.Request{})
	require.NoError(t, err)
	<-entered
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.ErrorIs(t, err, pconn.ErrGoingAway)
	close(release)
	_, err = first.Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Wait())
}

// A peer that does not go after the last request loses its place all the same.
func TestListenerLimitsRequestsOfStubborn(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits = endpoint.Limits{MaxRequests: 1, MaxConns: 1}
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), DrainTimeout: 30 * time.Millisecond})
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte("\x04\x02\x02\x01x"))
	require.NoError(t, err)
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "\x04\x02\x04x\x03\x00\x02\x00"[1:], string(all)[1:], "the answer, and EOF")
	_, err = dial(t, l, nil).Do(t.Context(), pconn.Request{})
	require.NoError(t, err, "its place is another's")
}

// A peer that sends no packet is closed in time; one that has sent one may be silent after.
func TestListenerLimitsFirstPacket(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits.FirstPacket = 100 * time.Millisecond
	var log syncbuf.Buffer
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	busy, idle := dial(t, l, nil), dial(t, l, nil)
	_, err := busy.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	<-idle.Done()
	require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "no packet came within 100ms")
	_, err = busy.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
}

func TestListenerLimitsThatMakeNoSense(t *testing.T) {
	childtest.NoLeaks(t)
	for text, limits := range map[string]endpoint.Limits{
		"MaxConns":    {MaxConns: -1},
		"Handshake":   {Handshake: -1},
		"FirstPacket": {FirstPacket: -1},
	} {
		l := listen(t, "tcp:127.0.0.1:0")
		l.Limits = limits
		_, err := l.Accept(t.Context(), nil)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, l.Serve(t.Context(), nil), text)
	}
}
