package prpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dialer makes carriers to a server that can be away.
type dialer struct {
	options *prpc.Options
	dials   int
	refuse  func(n int) error // of the nth dial, from 1
	pipes   []*pipe           // the server's ends
	conns   chan *prpc.Conn
}

func (d *dialer) dial(context.Context) (prpc.Carrier, error) {
	d.dials++
	if d.refuse != nil {
		if err := d.refuse(d.dials); err != nil {
			return nil, err
		}
	}
	a, b := newPipe()
	d.pipes = append(d.pipes, b)
	options := d.options
	go func() {
		if conn, err := prpc.Accept(context.Background(), b, options); err == nil {
			d.conns <- conn
		}
	}()
	return a, nil
}

func newDialer(t *testing.T) *dialer {
	t.Helper()
	return &dialer{options: &prpc.Options{Methods: testServices(t)}, conns: make(chan *prpc.Conn, 100)}
}

func (d *dialer) connect(t *testing.T, o prpc.Options) *prpc.Conn {
	t.Helper()
	if o.Reconnect == nil {
		o.Reconnect = &prpc.Reconnect{}
	}
	c, err := prpc.DialFunc(t.Context(), d.dial, &o)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		c.Wait()
	})
	return c
}

var errAway = errors.New("the server is away")

// A lost carrier: calls in flight fail, new ones wait, and the connection goes on.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t)
		c := d.connect(t, prpc.Options{})
		first := c.ID()
		d.refuse = func(n int) error {
			if n < 5 {
				return errAway
			}
			return nil
		}
		call, err := c.Start(t.Context(), prpc.BiStream, "echo.duplex")
		require.NoError(t, err)
		_, changed := c.Watch()
		d.pipes[0].drop()
		_, err = call.Result(t.Context())
		require.ErrorIs(t, err, prpc.ErrClosed)
		<-changed
		assert.Equal(t, prpc.ConnDisconnected, c.State())
		assert.NoError(t, c.Err())

		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = c.Call(short, "ping")
		assert.Equal(t, context.DeadlineExceeded, err)

		start := time.Now()
		pong, err := c.Call(t.Context(), "ping")
		require.NoError(t, err)
		assert.Equal(t, "pong", pong)
		assert.Equal(t, prpc.Connected, c.State())
		assert.Equal(t, 5, d.dials)
		assert.Greater(t, time.Since(start), 500*time.Millisecond)
		assert.NotEqual(t, first, c.ID())
	})
}

// What ends a connection for good although it may reconnect.
func TestReconnectGivesUp(t *testing.T) {
	for name, row := range map[string]struct {
		options prpc.Options
		lose    func(t *testing.T, d *dialer, c *prpc.Conn)
		want    func(t *testing.T, err error)
	}{
		"peer closed": {
			lose: func(_ *testing.T, d *dialer, _ *prpc.Conn) { _ = (<-d.conns).Close() },
			want: func(t *testing.T, err error) {
				assert.EqualError(t, err, "prpc: connection closed: peer closed with code 1000")
			},
		},
		"peer broke the protocol": {
			lose: func(t *testing.T, d *dialer, _ *prpc.Conn) { send(t, d.pipes[0], bad{0xc1}) },
			want: func(t *testing.T, err error) { wantViolation(t, err, prpc.Malformed) },
		},
		"attempts used up": {
			options: prpc.Options{Reconnect: &prpc.Reconnect{Attempts: 3, Initial: time.Second, Max: 2 * time.Second}},
			lose: func(t *testing.T, d *dialer, _ *prpc.Conn) {
				d.refuse = func(n int) error { assert.LessOrEqual(t, n, 4); return errAway }
				d.pipes[0].drop()
			},
			want: func(t *testing.T, err error) { require.ErrorIs(t, err, errAway) },
		},
		"server refuses": {
			lose: func(_ *testing.T, d *dialer, _ *prpc.Conn) {
				d.options = &prpc.Options{OnConnect: func(context.Context, *prpc.Conn) error { return errAway }}
				d.pipes[0].drop()
			},
			want: func(t *testing.T, err error) {
				var closed *prpc.CloseError
				require.ErrorAs(t, err, &closed)
				assert.Equal(t, prpc.CloseProtocol, closed.Code)
			},
		},
		"closed while it waits": {
			options: prpc.Options{Reconnect: &prpc.Reconnect{Initial: time.Hour, Max: time.Hour}},
			lose: func(_ *testing.T, d *dialer, c *prpc.Conn) {
				d.refuse = func(int) error { return errAway }
				d.pipes[0].drop()
				synctest.Wait()
				_ = c.Close()
			},
			want: func(t *testing.T, err error) { assert.EqualError(t, err, "prpc: connection closed") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDialer(t)
				c := d.connect(t, row.options)
				synctest.Wait()
				row.lose(t, d, c)
				<-c.Done()
				assert.Equal(t, prpc.ConnClosed, c.State())
				require.ErrorIs(t, c.Err(), prpc.ErrClosed)
				row.want(t, c.Err())
				_, err := c.Call(t.Context(), "ping")
				assert.Same(t, c.Err(), err)
			})
		})
	}
}

// A new server that is slow to answer, or breaks off, is tried again.
func TestReconnectTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t)
		c := d.connect(t, prpc.Options{HandshakeTimeout: time.Second})
		working := d.options
		d.options = &prpc.Options{OnConnect: func(_ context.Context, _ *prpc.Conn) error {
			<-time.After(10 * time.Second)
			return nil
		}}
		d.refuse = func(n int) error {
			if n == 4 {
				d.options = working
			}
			return nil
		}
		synctest.Wait()
		d.pipes[0].drop()
		synctest.Wait()
		pong, err := c.Call(t.Context(), "ping")
		require.NoError(t, err)
		assert.Equal(t, "pong", pong)
		assert.GreaterOrEqual(t, d.dials, 4)
		<-time.After(20 * time.Second)
	})
}

func TestDialFuncFails(t *testing.T) {
	_, err := prpc.DialFunc(t.Context(), func(context.Context) (prpc.Carrier, error) { return nil, errAway }, nil)
	require.ErrorIs(t, err, errAway)
	_, err = prpc.DialFunc(t.Context(), nil, &prpc.Options{Limits: prpc.Limits{Calls: -1}})
	require.ErrorContains(t, err, "Limits.Calls")
}
