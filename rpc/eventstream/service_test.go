package eventstream_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// service is a server of the interop service to be checked, whoever wrote it.
type service struct {
	dial func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error)
	raw  func(ctx context.Context) (net.Conn, error)
	java bool // it is the reference's server, with the defects of its binding
}

func (s service) open(t *testing.T) *eventstream.ClientConn {
	t.Helper()
	c, err := s.dial(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// handled opens a connection in the form with callbacks.
func (s service) handled(t *testing.T, h *eventstream.ConnHandler) *eventstream.ClientConn {
	t.Helper()
	conn, err := s.raw(t.Context())
	require.NoError(t, err)
	c, err := eventstream.NewConn(conn, h, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		require.Fail(t, "waited too long for "+what)
		panic("unreachable")
	}
}

func text(s string) *eventstream.Message { return &eventstream.Message{Payload: []byte(s)} }

var serviceChecks = []struct {
	name  string
	check func(t *testing.T, s service)
}{
	{"connect", checkConnect},
	{"reject", checkReject},
	{"ping", checkPing},
	{"echo", checkEcho},
	{"echo of an error", checkEchoError},
	{"large", checkLarge},
	{"count", checkCount},
	{"fail", checkFail},
	{"chat", checkChat},
	{"terminate first", checkTerminateFirst},
	{"sink", checkSink},
	{"flush order", checkFlushOrder},
	{"many", checkMany},
	{"close with open streams", checkCloseOpenStreams},
	{"server drops", checkServerDrop},
	{"protocol errors", checkProtocolErrors},
	{"protocol error, left open", checkProtocolErrorOpen},
	{"cancelled call", checkCancelledCall},
	{"wrong states", checkWrongStates},
	{"refuse", checkRefuse},
}

func checkService(t *testing.T, s service) {
	for _, c := range serviceChecks {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

// startServer serves the interop service on l until the test ends.
func startServer(t *testing.T, s *eventstream.Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		assert.ErrorIs(t, await(t, served, "Serve"), eventstream.ErrServerClosed)
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	return l
}

// serviceAt is a service behind an address.
func serviceAt(network, address string) service {
	return service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			return eventstream.Dial(ctx, network, address, opts)
		},
		raw: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}

func TestServiceTCP(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	startServer(t, eventstreamtest.New(), l)
	checkService(t, serviceAt("tcp", l.Addr().String()))
}

func TestServiceUnix(t *testing.T) {
	l := listen(t, "unix", t.TempDir()+"/s")
	startServer(t, eventstreamtest.New(), l)
	checkService(t, serviceAt("unix", l.Addr().String()))
}

// TestServicePipe runs over net.Pipe, where a write waits for the other end to read it.
func TestServicePipe(t *testing.T) {
	s := eventstreamtest.New()
	var conns sync.WaitGroup
	t.Cleanup(func() { assert.NoError(t, s.Close()); conns.Wait() })
	raw := func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		conns.Go(func() { _ = s.ServeConn(context.Background(), server) })
		return client, nil
	}
	checkService(t, service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			conn, _ := raw(ctx)
			return eventstream.NewClient(ctx, conn, opts)
		},
		raw: raw,
	})
}
