package prpc_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConnStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside := make(chan prpc.ConnState, 2)
		look := func(_ context.Context, c *prpc.Conn) error {
			inside <- c.State()
			return nil
		}
		c, s := connect(t, &prpc.Options{OnConnect: look}, &prpc.Options{OnConnect: look})
		assert.Equal(t, prpc.ConnPending, <-inside)
		assert.Equal(t, prpc.ConnPending, <-inside)
		assert.Equal(t, prpc.ModeClient, c.Mode())
		assert.Equal(t, prpc.ModeServer, s.Mode())
		state, changed := c.Watch()
		assert.Equal(t, prpc.Connected, state)
		assert.NoError(t, c.Err())
		require.NoError(t, s.Close())
		<-changed
		<-c.Done()
		assert.Equal(t, prpc.ConnClosed, c.State())
		require.ErrorIs(t, c.Err(), prpc.ErrClosed)
		require.NoError(t, c.Close(), "closing again")
	})
}

func TestUserDataAndIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, &prpc.Options{Data: "from client"}, &prpc.Options{Data: map[string]int{"n": 1}})
		assert.Equal(t, c.ID(), s.ID())
		var text string
		require.NoError(t, s.PeerData(&text))
		assert.Equal(t, "from client", text)
		var m map[string]int
		require.NoError(t, c.PeerData(&m))
		assert.Equal(t, map[string]int{"n": 1}, m)
		var de *prpc.DecodeError
		require.ErrorAs(t, c.PeerData(&text), &de)
		require.ErrorAs(t, c.PeerData(text), &de)
	})
}

func TestRefusals(t *testing.T) {
	no := errors.New("no")
	refuse := &prpc.Options{OnConnect: func(context.Context, *prpc.Conn) error { return no }}
	t.Run("server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := newPipe()
			accepted := make(chan error, 1)
			go func() {
				_, err := prpc.Accept(context.Background(), b, refuse)
				accepted <- err
			}()
			_, err := prpc.Connect(t.Context(), a, nil)
			require.ErrorIs(t, err, prpc.ErrClosed)
			var closed *prpc.CloseError
			require.ErrorAs(t, err, &closed)
			assert.Equal(t, prpc.CloseProtocol, closed.Code)
			err = <-accepted
			require.ErrorIs(t, err, prpc.ErrRejected)
			require.ErrorIs(t, err, no)
		})
	})
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := newPipe()
			send(t, theirs, l{6, 1, l{1, "id", nil}, 0, nil})
			_, err := prpc.Connect(t.Context(), ours, refuse)
			require.ErrorIs(t, err, prpc.ErrRejected)
			assert.Equal(t, prpc.CloseProtocol, closedWith(t, theirs))
		})
	})
	t.Run("status", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := newPipe()
			send(t, theirs, l{6, 1, l{1, "id", nil}, 30, l{"full", "", "", nil}})
			_, err := prpc.Connect(t.Context(), ours, nil)
			assert.Equal(t, "full", remoteErr(t, err, prpc.StatusServerError).Message)
		})
	})
	t.Run("data that cannot be sent", func(t *testing.T) {
		ours, _ := newPipe()
		_, err := prpc.Connect(t.Context(), ours, &prpc.Options{Data: func() {}})
		var ee *prpc.EncodeError
		require.ErrorAs(t, err, &ee)
		ours, theirs := newPipe()
		send(t, theirs, helloServer)
		_, err = prpc.Accept(t.Context(), ours, &prpc.Options{Data: func() {}})
		require.ErrorAs(t, err, &ee)
	})
	t.Run("carrier that is closed", func(t *testing.T) {
		a, _ := newPipe()
		require.NoError(t, a.Close(1000))
		_, err := prpc.Connect(t.Context(), a, nil)
		require.ErrorIs(t, err, prpc.ErrClosed)
		require.ErrorIs(t, err, io.ErrClosedPipe)
	})
}

func TestHandshakeTimeLimits(t *testing.T) {
	ends := map[string]func(context.Context, prpc.Carrier, *prpc.Options) (*prpc.Conn, error){
		"client": prpc.Connect, "server": prpc.Accept,
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for limit, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second} {
					ours, theirs := newPipe()
					start := time.Now()
					_, err := end(t.Context(), ours, &prpc.Options{HandshakeTimeout: limit})
					require.ErrorIs(t, err, prpc.ErrHandshakeTimeout)
					assert.Equal(t, want, time.Since(start))
					assert.Equal(t, prpc.CloseProtocol, closedWith(t, theirs))
				}
				// Without a limit of its own, the context's counts.
				ours, _ := newPipe()
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				_, err := end(ctx, ours, &prpc.Options{HandshakeTimeout: -1})
				assert.Equal(t, context.DeadlineExceeded, err)
			})
		})
	}
}

func TestCloseInOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newPipe()
		send(t, theirs, helloServer)
		_, err := prpc.Accept(t.Context(), ours, &prpc.Options{
			OnConnect: func(_ context.Context, c *prpc.Conn) error { return c.Close() },
		})
		require.ErrorIs(t, err, prpc.ErrClosed)
	})
}

// A peer that is gone does not keep Close from returning, and methods that ignore their context do not either.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		methods, err := prpc.NewTree(prpc.Tree{"stuck": func() { <-release }})
		require.NoError(t, err)
		p, c := rawServer(t, &prpc.Options{Methods: methods})
		send(t, p, l{2, 1, 20, "stuck", nil, nil})
		synctest.Wait()
		start := time.Now()
		require.NoError(t, c.Close())
		assert.Less(t, time.Since(start), 5*time.Second)
		waited := make(chan struct{})
		go func() {
			c.Wait()
			close(waited)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("Wait did not wait for the method")
		default:
		}
		close(release)
		<-waited
	})
}

// What was queued before Close still arrives.
func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, nil)
		call, err := c.Start(t.Context(), prpc.OStream, "m")
		require.NoError(t, err)
		for n := range 20 {
			require.NoError(t, call.Stream().Send(t.Context(), n))
		}
		require.NoError(t, c.Close())
		count := 0
		for {
			if _, err := p.Receive(); err != nil {
				break
			}
			count++
		}
		assert.Equal(t, 21, count)
		require.ErrorIs(t, call.Stream().Send(t.Context(), 1), prpc.ErrClosed)
	})
}

// A server's first call waits for the client to have turned to the handshake's
// answer: until it says something, or for the delay.
func TestCallDelay(t *testing.T) {
	for name, row := range map[string]struct {
		options prpc.Options
		speak   bool
		want    time.Duration
	}{
		"silent client": {prpc.Options{}, false, 100 * time.Millisecond},
		"speaking":      {prpc.Options{CallDelay: time.Hour}, true, 0},
		"switched off":  {prpc.Options{CallDelay: -1}, false, 0},
		"another delay": {prpc.Options{CallDelay: time.Second}, false, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := rawServer(t, &row.options)
				start := time.Now()
				if row.speak {
					send(t, p, l{3, 99})
				}
				call, err := c.Start(t.Context(), prpc.Unary, "hello")
				require.NoError(t, err)
				assert.Equal(t, row.want, time.Since(start))
				_, err = p.Receive()
				require.NoError(t, err)
				call.Cancel()
				require.NoError(t, c.Close())
			})
		})
	}
	t.Run("ended meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, c := rawServer(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := c.Call(ctx, "hello")
			assert.Equal(t, context.DeadlineExceeded, err)
			go p.drop()
			_, err = c.Call(t.Context(), "hello")
			require.ErrorIs(t, err, prpc.ErrClosed)
			c.Wait()
		})
	})
}

// A call made while OnConnect runs waits for the handshake.
func TestCallDuringTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan any, 1)
		a, b := newPipe()
		methods, err := prpc.NewTree(prpc.Tree{"ping": func() string { return "pong" }})
		require.NoError(t, err)
		early := &prpc.Options{OnConnect: func(_ context.Context, c *prpc.Conn) error {
			go func() { results <- outcomeOf(c.Call(context.Background(), "ping")) }()
			synctest.Wait()
			return nil
		}}
		join(t, a, b, early, &prpc.Options{Methods: methods})
		assert.Equal(t, "pong", <-results)
	})
}

// Nothing that comes right behind the handshake is lost by our client, even if its
// OnConnect takes its time.
func TestCallRightBehindTheHandshake(t *testing.T) {
	methods := testServices(t)
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newPipe()
		send(t, theirs, l{6, 1, l{1, "id", nil}, 0, nil}, l{2, 1, 20, "ping", l{}, nil})
		c, err := prpc.Connect(t.Context(), ours, &prpc.Options{
			Methods: methods,
			OnConnect: func(context.Context, *prpc.Conn) error {
				<-time.After(time.Second)
				return nil
			},
		})
		require.NoError(t, err)
		_, err = theirs.Receive() // the handshake
		require.NoError(t, err)
		_, pong := receiveAnswer(t, theirs, 1)
		assert.Equal(t, "pong", pong)
		require.NoError(t, c.Close())
		c.Wait()
	})
}

type key struct{}

// Methods see the values of the context the connection was made with, but not its end.
func TestMethodsSeeContextValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		methods, err := prpc.NewTree(prpc.Tree{"value": func(ctx context.Context) (any, error) {
			return ctx.Value(key{}), ctx.Err()
		}})
		require.NoError(t, err)
		ours, theirs := newPipe()
		send(t, theirs, helloServer)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "seen"))
		c, err := prpc.Accept(ctx, ours, &prpc.Options{Methods: methods})
		require.NoError(t, err)
		cancel()
		_, err = theirs.Receive()
		require.NoError(t, err)
		send(t, theirs, l{2, 1, 20, "value", nil, nil})
		_, value := receiveAnswer(t, theirs, 1)
		assert.Equal(t, "seen", value)
		require.NoError(t, c.Close())
		c.Wait()
	})
}

func TestReconnectNeedsDial(t *testing.T) {
	a, _ := newPipe()
	_, err := prpc.Connect(t.Context(), a, &prpc.Options{Reconnect: &prpc.Reconnect{}})
	require.ErrorContains(t, err, "Dial")
}
