package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

func TestShutdownFinishesWhatIsOutstanding(t *testing.T) {
	there, here := newGate(t), newGate(t)
	a, b := pair(t, serve(here.serve), serve(there.serve))
	ours := do(soon(t), a, pconn.Request{Payload: []byte("ours")})
	theirs := do(soon(t), b, pconn.Request{Payload: []byte("theirs")})
	receiveFrom(t, there.entered)
	receiveFrom(t, here.entered)
	down := make(chan error, 1)
	go func() { down <- a.Shutdown(soon(t)) }()
	eventually(t, "new calls are refused", func() bool {
		_, err := a.Submit(soon(t), pconn.Request{Channel: 77})
		return err == pconn.ErrDraining
	})
	_, err := a.Do(soon(t), pconn.Request{})
	require.Equal(t, pconn.ErrDraining, err)
	require.Equal(t, pconn.ErrDraining, a.Notify(soon(t), pconn.Request{}))
	require.NoError(t, a.Err(), "it still receives")
	here.release()
	require.NoError(t, receiveFrom(t, theirs).err)
	select {
	case <-a.Done():
		require.FailNow(t, "ended before our own call was answered")
	default:
	}
	there.release()
	got := receiveFrom(t, ours)
	require.NoError(t, got.err)
	require.Equal(t, "ours", string(got.resp.Payload))
	require.NoError(t, receiveFrom(t, down))
	require.Equal(t, pconn.ErrClosed, a.Err())
	require.NoError(t, b.Wait())
	require.Equal(t, pconn.ErrPeerClosed, b.Err())
}

// TestNestedCallsDuringDrain has an accepted handler call back, and the peer's answer call back again,
// after Shutdown was called.
func TestNestedCallsDuringDrain(t *testing.T) {
	g := newGate(t)
	nest := func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			g.entered <- 1
			<-g.open
		}
		if req.Flags == 0 {
			return pconn.Text("bottom"), nil
		}
		resp, err := req.Conn.Do(ctx, pconn.Request{Flags: req.Flags - 1})
		return pconn.Bytes(resp.Payload), err
	}
	a, b := pair(t, serve(nest), serve(nest))
	res := do(soon(t), b, pconn.Request{Type: 1, Flags: 20})
	receiveFrom(t, g.entered)
	down := make(chan error, 1)
	go func() { down <- a.Shutdown(soon(t)) }()
	eventually(t, "new calls are refused", func() bool {
		_, err := a.Submit(soon(t), pconn.Request{})
		return err == pconn.ErrDraining
	})
	g.release()
	got := receiveFrom(t, res)
	require.NoError(t, got.err)
	require.Equal(t, "bottom", string(got.resp.Payload))
	require.NoError(t, receiveFrom(t, down))
}

func TestBothEndsShutDownAtOnce(t *testing.T) {
	for range 50 {
		a, b := pair(t, serve(echo), serve(echo))
		for _, c := range []*pconn.Conn{a, b} {
			for range 5 {
				_, err := c.Submit(soon(t), pconn.Request{Payload: []byte("x")})
				require.NoError(t, err)
			}
		}
		results := make(chan error, 2)
		go func() { results <- a.Shutdown(soon(t)) }()
		go func() { results <- b.Shutdown(soon(t)) }()
		require.NoError(t, receiveFrom(t, results))
		require.NoError(t, receiveFrom(t, results))
		// Whose EOF came before the other's Shutdown was called has closed both.
		for _, c := range []*pconn.Conn{a, b} {
			require.Contains(t, []error{pconn.ErrClosed, pconn.ErrPeerClosed}, c.Err())
		}
	}
}

func TestEndingTwiceAndConcurrently(t *testing.T) {
	a, b := pair(t, serve(echo), serve(echo))
	var wg sync.WaitGroup
	for i := range 40 {
		c := []*pconn.Conn{a, b}[i%2]
		wg.Go(func() {
			switch i % 4 {
			case 0, 1:
				assert.NoError(t, c.Close())
			case 2:
				if err := c.Shutdown(soon(t)); err != nil {
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
				}
			default:
				assert.NoError(t, c.Wait())
			}
			<-c.Done()
			assert.Error(t, c.Err())
		})
	}
	within(t, wg.Wait)
	for _, c := range []*pconn.Conn{a, b} {
		require.NoError(t, c.Close())
		require.NoError(t, c.Shutdown(soon(t)))
		require.NoError(t, c.Wait())
	}
}

func TestShutdownWithAnEndedContext(t *testing.T) {
	p := raw(t, nil) // the peer never answers EOF
	res := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.True(t, p.conn.Shutdown(ctx) == context.Canceled)
	require.Equal(t, pconn.ErrClosed, receiveFrom(t, res).err)
	receiveFrom(t, p.conn.Done())
	require.NoError(t, p.conn.Shutdown(ctx), "it is over")
}

func TestShutdownAgainstAPeerThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		r, err := p.conn.Submit(t.Context(), pconn.Request{})
		require.NoError(t, err)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		require.True(t, p.conn.Shutdown(ctx) == context.DeadlineExceeded)
		require.Equal(t, 7*time.Second, time.Since(begun))
		_, err = r.Wait(t.Context())
		require.Equal(t, pconn.ErrClosed, err)
		<-p.conn.Done()
	})
}

// TestShutdownWaitsForThePeersEnd has the peer send EOF, or end its stream, only after ours.
func TestShutdownWaitsForThePeersEnd(t *testing.T) {
	for _, packets := range []bool{true, false} {
		p := raw(t, nil)
		down := make(chan error, 1)
		go func() { down <- p.conn.Shutdown(soon(t)) }()
		p.expectEOF()
		select {
		case err := <-down:
			require.FailNow(t, "did not wait for the peer", "%v", err)
		default:
		}
		if packets {
			p.write(eof)
		} else {
			p.out.Close()
		}
		require.NoError(t, receiveFrom(t, down))
		require.Equal(t, pconn.ErrClosed, p.conn.Err())
	}
}

func TestEndFromAHandler(t *testing.T) {
	var other *pconn.Conn
	for name, end := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Close":               func(_ context.Context, c *pconn.Conn) error { return c.Close() },
		"Close twice":         func(_ context.Context, c *pconn.Conn) error { return errors.Join(c.Close(), c.Close()) },
		"Shutdown":            func(ctx context.Context, c *pconn.Conn) error { return c.Shutdown(ctx) },
		"Shutdown, Close":     func(ctx context.Context, c *pconn.Conn) error { return errors.Join(c.Shutdown(ctx), c.Close()) },
		"Close in a deferral": func(_ context.Context, c *pconn.Conn) (err error) { defer func() { err = c.Close() }(); return nil },
		"Close when the context ends": func(ctx context.Context, c *pconn.Conn) error {
			go other.Close()
			<-ctx.Done()
			return c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			a, b := pair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				result <- end(ctx, req.Conn)
				return pconn.Text("bye"), nil
			}))
			other = b
			begun := time.Now()
			res := do(soon(t), a, pconn.Request{})
			require.NoError(t, receiveFrom(t, result))
			got := receiveFrom(t, res)
			if got.err == nil {
				require.Equal(t, "bye", string(got.resp.Payload))
			} else {
				require.Equal(t, pconn.ErrPeerClosed, got.err)
			}
			receiveFrom(t, b.Done())
			require.NoError(t, b.Wait())
			receiveFrom(t, a.Done())
			require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout, "nobody waited for himself")
		})
	}
}

// TestManyHandlersClose has handlers close the connection at different moments of its end.
func TestManyHandlersClose(t *testing.T) {
	for range 20 {
		a, b := pair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type%2 == 0 {
				<-ctx.Done()
			}
			return pconn.None(), req.Conn.Close()
		}))
		begun := time.Now()
		var results []<-chan outcome
		for typ := range uint64(6) {
			results = append(results, do(soon(t), a, pconn.Request{Type: typ}))
		}
		receiveFrom(t, b.Done())
		require.NoError(t, b.Wait())
		require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout)
		for _, r := range results {
			receiveFrom(t, r)
		}
	}
}

// TestEndFromAnotherConnectionsHandler is what a proxy does: the handler of one connection ends another,
// and has to wait for that one's handlers as anybody.
func TestEndFromAnotherConnectionsHandler(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Close":    func(_ context.Context, c *pconn.Conn) error { return c.Close() },
		"Shutdown": func(ctx context.Context, c *pconn.Conn) error { return c.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			client, backend := pair(t, nil, serve(g.serve))
			res := do(soon(t), client, pconn.Request{})
			receiveFrom(t, g.entered)
			returned := make(chan error, 1)
			front, _ := pair(t, nil, serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
				err := end(ctx, backend)
				select {
				case <-backend.Done():
				default:
					err = errors.New("returned before the connection was over")
				}
				returned <- err
				return pconn.None(), nil
			}))
			frontRes := do(soon(t), front, pconn.Request{})
			eventually(t, "the end has begun", func() bool {
				return backend.Notify(soon(t), pconn.Request{}) != nil
			})
			g.release()
			require.NoError(t, receiveFrom(t, returned))
			require.NoError(t, receiveFrom(t, frontRes).err)
			receiveFrom(t, res)
		})
	}
}

func TestEndFromEveryHook(t *testing.T) {
	for hook, set := range map[string]func(o *pconn.Options, end func(*pconn.Conn)){
		"OnRecvEOF": func(o *pconn.Options, end func(*pconn.Conn)) { o.OnRecvEOF = end },
		"OnSendEOF": func(o *pconn.Options, end func(*pconn.Conn)) { o.OnSendEOF = end },
		"OnHandlerError": func(o *pconn.Options, end func(*pconn.Conn)) {
			o.OnHandlerError = func(req *pconn.Request, _ error) { end(req.Conn) }
		},
	} {
		for method, end := range map[string]func(*pconn.Conn){
			"Close":    func(c *pconn.Conn) { c.Close() },
			"Shutdown": func(c *pconn.Conn) { c.Shutdown(context.Background()) },
		} {
			for _, mark := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s in %s, marked %v", method, hook, mark), func(t *testing.T) {
					o := serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), errors.New("no") })
					if mark {
						o.Handler = pconn.NonBlocking(o.Handler)
					}
					set(o, end)
					p := raw(t, o)
					begun := time.Now()
					p.write(request(5, 0, ""))
					p.write(eof)
					for {
						got, err := p.tryRead()
						if err != nil || got.Request {
							break
						}
					}
					receiveFrom(t, p.conn.Done())
					require.NoError(t, p.conn.Wait())
					require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout, "nobody waited for himself")
				})
			}
		}
	}
}

func TestNotificationsThatBlockOrPanic(t *testing.T) {
	free := make(chan struct{})
	defer close(free)
	var calls atomic.Int32
	block := func(*pconn.Conn) { calls.Add(1); <-free }
	crash := func(*pconn.Conn) { calls.Add(1); panic("in a notification") }
	for _, hook := range []func(*pconn.Conn){block, crash} {
		a, b := pair(t, &pconn.Options{OnRecvEOF: hook, OnSendEOF: hook, CloseTimeout: 50 * time.Millisecond}, nil)
		within(t, func() { b.Close() })
		receiveFrom(t, a.Done())
	}
	require.GreaterOrEqual(t, calls.Load(), int32(3), "the second of those that block may not have begun")
}

func TestNotificationsAreCalledOnce(t *testing.T) {
	for name, end := range map[string]func(p *rawPeer){
		"Close":         func(p *rawPeer) { p.conn.Close() },
		"EOF":           func(p *rawPeer) { p.write(eof) },
		"end of stream": func(p *rawPeer) { p.out.Close() },
		"garbage":       func(p *rawPeer) { p.write([]byte{0}) },
		"both": func(p *rawPeer) {
			go p.conn.Close()
			p.write(eof)
		},
		"Shutdown": func(p *rawPeer) {
			go p.conn.Shutdown(context.Background())
			p.expectEOF()
			p.write(eof)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var recv, send atomic.Int32
			var wrong atomic.Bool
			var conn atomic.Pointer[pconn.Conn]
			p := raw(t, &pconn.Options{
				OnRecvEOF: func(c *pconn.Conn) { recv.Add(1); wrong.Store(wrong.Load() || c.Err() == nil); conn.Store(c) },
				OnSendEOF: func(*pconn.Conn) { send.Add(1) },
			})
			end(p)
			receiveFrom(t, p.conn.Done())
			p.conn.Close()
			require.EqualValues(t, 1, recv.Load())
			require.EqualValues(t, 1, send.Load())
			require.False(t, wrong.Load(), "Err was set when it was called")
			require.Same(t, p.conn, conn.Load())
		})
	}
	t.Run("a peer that is gone", func(t *testing.T) {
		var recv, send atomic.Int32
		p := raw(t, &pconn.Options{
			OnRecvEOF: func(*pconn.Conn) { recv.Add(1) },
			OnSendEOF: func(*pconn.Conn) { send.Add(1) },
		})
		p.in.Close()
		p.out.Close()
		receiveFrom(t, p.conn.Done())
		require.EqualValues(t, 1, recv.Load())
		require.Zero(t, send.Load(), "EOF could not be sent")
	})
}

func TestPeersEOFWhileHandlersWork(t *testing.T) {
	g := newGate(t)
	p := raw(t, serve(g.serve))
	ours := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	for tag := uint64(10); tag < 13; tag++ {
		p.write(request(tag, tag, fmt.Sprint(tag)))
		receiveFrom(t, g.entered)
	}
	p.write(eof)
	require.Equal(t, pconn.ErrPeerClosed, receiveFrom(t, ours).err, "no answer can follow")
	_, err := p.conn.Do(soon(t), pconn.Request{})
	require.Equal(t, pconn.ErrPeerClosed, err)
	g.release()
	seen := map[uint64]bool{}
	for range 3 {
		got := p.read()
		require.Equal(t, fmt.Sprint(got.Tag), string(got.Payload))
		seen[got.Tag] = true
	}
	require.Len(t, seen, 3)
	p.expectEOF()
	require.NoError(t, p.conn.Wait())
}

// tookAbout checks how long something took in a bubble's time. A handler that blocks costs a fraction of a
// millisecond there, until receiving goes on elsewhere.
func tookAbout(t *testing.T, want time.Duration, begun time.Time) {
	t.Helper()
	require.InDelta(t, want.Seconds(), time.Since(begun).Seconds(), 0.02)
}

func TestDrainTimeoutCutsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		p := raw(t, serve(g.serveCtx))
		p.write(request(10, 1, ""))
		synctest.Wait()
		begun := time.Now()
		p.write(eof)
		p.expectResponse(10, false, failedText) // its context ended
		tookAbout(t, pconn.DefaultDrainTimeout, begun)
		p.expectEOF()
		<-p.conn.Done()
		require.NoError(t, p.conn.Wait())
	})
}

func TestDrainTimeoutAndHandlersThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		o := serve(g.serve)
		o.DrainTimeout, o.CloseTimeout = 3*time.Second, 4*time.Second
		p := raw(t, o)
		p.write(request(10, 1, ""))
		synctest.Wait()
		begun := time.Now()
		p.write(eof)
		p.expectEOF() // it is not kept back for ever
		<-p.conn.Done()
		tookAbout(t, 7*time.Second, begun)
		var stay *pconn.StayError
		require.ErrorAs(t, p.conn.Wait(), &stay)
	})
}

func TestStayErrorNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == 3 {
				return g.serveCtx(ctx, req)
			}
			return g.serve(ctx, req)
		})
		p := raw(t, o)
		for typ := range uint64(12) {
			p.write(request(100+typ, typ, ""))
		}
		time.Sleep(time.Second) // receiving has left the handlers that block, one after another
		synctest.Wait()
		begun := time.Now()
		err := p.conn.Close()
		tookAbout(t, pconn.DefaultCloseTimeout, begun)
		var stay *pconn.StayError
		require.ErrorAs(t, err, &stay)
		require.Len(t, stay.Handlers, 11, "all but the one that minds its context")
		for _, h := range stay.Handlers {
			require.False(t, h.Out)
			require.Equal(t, h.Type+100, h.Tag)
			require.NotEqualValues(t, 3, h.Type)
			require.Equal(t, pconn.StateAtWork, h.State)
			require.GreaterOrEqual(t, h.Age, pconn.DefaultCloseTimeout)
		}
		require.Contains(t, err.Error(), "11 handlers still at work")
		require.Contains(t, err.Error(), "...")
		require.Equal(t, err, p.conn.Close(), "the same for everybody")
		require.ErrorIs(t, p.conn.Wait(), err)
		g.release()
		synctest.Wait()
	})
}

// TestQueuedRequestsAreNotBegunAfterTheEnd lets a handler that stayed return after Close.
func TestQueuedRequestsAreNotBegunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		var begun atomic.Int32
		o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			begun.Add(1)
			return g.serve(ctx, req)
		})
		o.MaxHandlers = 1
		p := raw(t, o)
		for tag := range uint64(5) {
			p.write(request(10+tag, 1, ""))
		}
		time.Sleep(time.Second) // receiving has left the first handler, and queued the others
		synctest.Wait()
		var stay *pconn.StayError
		require.ErrorAs(t, p.conn.Close(), &stay)
		require.Len(t, stay.Handlers, 1)
		g.release()
		synctest.Wait()
		require.EqualValues(t, 1, begun.Load())
		require.EqualValues(t, 4, p.conn.Counters().DroppedRequests.Load())
		require.Empty(t, p.conn.InFlight())
	})
}

func TestCloseAgainstAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 1<<10, 1<<10)
		r, err := p.conn.Submit(t.Context(), pconn.Request{Payload: pattern(100_000)})
		require.NoError(t, err)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, p.conn.Close())
		require.LessOrEqual(t, time.Since(begun), pconn.DefaultCloseTimeout)
		_, err = r.Wait(t.Context())
		require.Equal(t, pconn.ErrClosed, err)
	})
}

func TestShutdownAgainstAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 1<<10, 1<<10)
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: pattern(100_000)}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		require.True(t, p.conn.Shutdown(ctx) == context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		<-p.conn.Done()
		require.LessOrEqual(t, time.Since(begun), time.Minute+pconn.DefaultCloseTimeout)
	})
}

func TestErrAndDoneBeforeTheEnd(t *testing.T) {
	a, _ := pair(t, nil, nil)
	require.NoError(t, a.Err())
	select {
	case <-a.Done():
		require.FailNow(t, "not over yet")
	default:
	}
}

func TestEndErrorHasTheLastWord(t *testing.T) {
	exit := errors.New("exit status 3")
	var calls atomic.Int32
	p := raw(t, &pconn.Options{EndError: func(err error) error { calls.Add(1); return fmt.Errorf("%w: %w", exit, err) }})
	res := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	p.out.Close()
	err := receiveFrom(t, res).err
	require.ErrorIs(t, err, exit)
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.True(t, p.conn.Err() == err)
	receiveFrom(t, p.conn.Done())
	require.EqualValues(t, 1, calls.Load())
}

// A peer that says EOF and waits for ours gets it before EndError returns, which may wait for what the peer does then.
// Whoever calls meanwhile gets the same end.
func TestGoodbyeIsAnsweredBeforeEndError(t *testing.T) {
	asked, answered := make(chan struct{}), make(chan struct{})
	p := raw(t, &pconn.Options{EndError: func(err error) error {
		close(asked)
		<-answered
		return fmt.Errorf("explained: %w", err)
	}})
	early := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	p.write(eof)
	receiveFrom(t, asked)
	late := do(soon(t), p.conn, pconn.Request{})
	p.expectEOF()
	select {
	case <-late:
		require.FailNow(t, "answered before the end is known")
	default:
	}
	close(answered)
	err := receiveFrom(t, early).err
	require.EqualError(t, err, "explained: "+pconn.ErrPeerClosed.Error())
	require.True(t, err == receiveFrom(t, late).err)
	receiveFrom(t, p.conn.Done())
}

// TestFiveConnectionsInOneBurst has the bytes of five connections, one after another, in one write, and
// hands the same input to each.
func TestFiveConnectionsInOneBurst(t *testing.T) {
	keepsDescriptors(t)
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	defer func() {
		for _, f := range []*os.File{toR, toW, fromR, fromW} {
			f.Close()
		}
	}()
	var burst []byte
	for i := range uint64(5) {
		for tag := range uint64(3) {
			burst = append(burst, request(10+tag, i, fmt.Sprint(i, tag))...)
		}
		burst = append(burst, eof...)
	}
	_, err = toW.Write(append(burst, "left over"...))
	require.NoError(t, err)
	in := bufio.NewInput(toR)
	defer in.Close()
	answers := bufio.NewInput(fromR)
	defer answers.Close()
	for i := range uint64(5) {
		conn, err := pconn.New(in, bufio.NewOutput(fromW), serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			assert.Equal(t, i, req.Type)
			return pconn.Bytes(req.Payload), nil
		}))
		require.NoError(t, err)
		if i%2 == 1 {
			_, err = conn.Do(soon(t), pconn.Request{}) // its peer is gone already, or about to be
			require.Error(t, err)
		}
		within(t, func() { require.NoError(t, conn.Wait()) })
		require.EqualValues(t, 4, conn.Counters().PacketsIn.Load())
		got := map[uint64]string{}
		for {
			p, err := packet.Read(answers, 1<<20)
			require.NoError(t, err)
			if p.Request && p.Type == 0 {
				break
			}
			if !p.Request {
				got[p.Tag] = string(p.Payload)
			}
		}
		require.Equal(t, map[uint64]string{10: fmt.Sprint(i, 0), 11: fmt.Sprint(i, 1), 12: fmt.Sprint(i, 2)}, got)
	}
	rest := make([]byte, 9)
	require.NoError(t, in.ReadFull(rest))
	require.Equal(t, "left over", string(rest))
}

// TestConnectionsAfterClose takes the input over from a connection that was closed in the middle of
// waiting.
func TestConnectionsAfterClose(t *testing.T) {
	in, out := bufio.Pipe(0)
	for i := range 5 {
		_, connOut := bufio.Pipe(0)
		conn, err := pconn.New(in, connOut, serve(echo))
		require.NoError(t, err)
		if i%2 == 0 {
			res := do(soon(t), conn, pconn.Request{})
			eventually(t, "the call is out", func() bool { return len(conn.InFlight()) == 1 })
			p := &rawPeer{t: t, out: out}
			p.write(response(2, "answered"))
			require.NoError(t, receiveFrom(t, res).err)
		}
		within(t, func() { require.NoError(t, conn.Close()) })
	}
	p := &rawPeer{t: t, out: out}
	p.write([]byte("x"))
	b, err := in.Peek(1)
	require.ErrorIs(t, err, bufio.ErrInterrupted, "whoever goes on reading resumes it")
	require.Empty(t, b)
	in.Resume()
	b, err = in.Peek(1)
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}

func TestDescriptorsThatWerePassedInStayOpen(t *testing.T) {
	keepsDescriptors(t)
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	defer toR.Close()
	fd := func(f *os.File) int {
		var n int
		rc, err := f.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(fd uintptr) { n = int(fd) }))
		return n
	}
	before := descriptors(t)
	in, err := bufio.InputFD(fd(toR))
	require.NoError(t, err)
	out, err := bufio.OutputFD(fd(fromW))
	require.NoError(t, err)
	conn, err := pconn.New(in, out, &pconn.Options{CloseInput: true})
	require.NoError(t, err)
	_, err = toW.Write(eof)
	require.NoError(t, err)
	within(t, func() { require.NoError(t, conn.Wait()) })
	require.Equal(t, before, descriptors(t), "what the connection opened is closed")
	// The owner's are open: there is no end of stream yet, and they can be used.
	_, err = fromW.Write([]byte("more"))
	require.NoError(t, err)
	require.NoError(t, fromW.Close())
	all, err := io.ReadAll(fromR)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(eof), "more"...), all)
	require.NoError(t, fromR.Close())
	require.NoError(t, toW.Close())
	n, err := toR.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
}

func TestOutputIsClosedAsSoonAsEOFIsSent(t *testing.T) {
	p := rawPipes(t, nil)
	go p.conn.Shutdown(soon(t))
	p.expectEOF() // the end of the stream too, though the peer's EOF is missing
	require.NoError(t, p.conn.Err())
	p.write(eof)
	receiveFrom(t, p.conn.Done())
}

func TestCloseInput(t *testing.T) {
	for _, set := range []bool{true, false} {
		p := raw(t, &pconn.Options{CloseInput: set})
		p.write(eof)
		receiveFrom(t, p.conn.Done())
		err := p.tryWrite([]byte("more"))
		if set {
			require.ErrorIs(t, err, bufio.ErrPeerGone)
		} else {
			require.NoError(t, err)
		}
	}
}

// stuck is a reader and writer without deadlines that does not return until it is freed.
type stuck struct{ free chan struct{} }

func (s stuck) Read([]byte) (int, error)  { <-s.free; return 0, io.EOF }
func (s stuck) Write([]byte) (int, error) { <-s.free; return 0, errors.New("freed") }

func TestStuckReaderAndWriter(t *testing.T) {
	s := stuck{make(chan struct{})}
	defer close(s.free) // what was left behind ends, or is found by the check for leaked goroutines
	conn, err := pconn.New(bufio.NewInput(s), bufio.NewOutput(s), &pconn.Options{CloseTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	payload := filled(100_000, 1)
	_, err = conn.Do(ctx, pconn.Request{Payload: payload})
	require.True(t, err == context.DeadlineExceeded)
	overwrite(payload) // -race sees a write that still has it
	r, err := conn.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	down := make(chan error, 1)
	go func() { down <- conn.Shutdown(ctx) }()
	require.True(t, receiveFrom(t, down) == context.DeadlineExceeded)
	within(t, func() { require.NoError(t, conn.Close()) })
	_, err = r.Wait(soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
	within(t, func() { conn.Wait() })
}

// TestPeerClosesItsInputOnly has answers arrive although nothing can be sent any more.
func TestPeerClosesItsInputOnly(t *testing.T) {
	keepsDescriptors(t)
	p := rawPipes(t, serve(echo))
	first := do(soon(t), p.conn, pconn.Request{Type: 1})
	tag1 := p.expectRequest(1, "")
	second := do(soon(t), p.conn, pconn.Request{Type: 2})
	p.expectRequest(2, "")
	require.NoError(t, p.in.Close())
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{})) // finds the pipe broken
	p.write(response(tag1, "late but good"))
	got := receiveFrom(t, first)
	require.NoError(t, got.err)
	require.Equal(t, "late but good", string(got.resp.Payload))
	require.ErrorIs(t, receiveFrom(t, second).err, pconn.ErrPeerGone)
	require.ErrorIs(t, p.conn.Wait(), pconn.ErrPeerGone)
	_, err := p.conn.Do(soon(t), pconn.Request{})
	require.True(t, err == p.conn.Err())
}

// TestCallsAfterAFailedWrite get what everybody gets.
func TestCallsAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		require.NoError(t, p.in.Close())
		begun := time.Now()
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{})) // finds that nobody reads
		_, err := p.conn.Do(t.Context(), pconn.Request{})
		require.ErrorIs(t, err, pconn.ErrPeerGone)
		require.True(t, err == p.conn.Err())
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// TestPeerClosesItsOutputOnly has requests answered after the peer's stream has ended.
func TestPeerClosesItsOutputOnly(t *testing.T) {
	keepsDescriptors(t)
	g := newGate(t)
	p := rawPipes(t, serve(g.serve))
	p.write(request(5, 1, "x"))
	receiveFrom(t, g.entered)
	require.NoError(t, p.out.Close())
	eventually(t, "the end is seen", func() bool { return p.conn.Err() == pconn.ErrPeerClosed })
	g.release()
	p.expectResponse(5, true, "x")
	p.expectEOF()
	require.NoError(t, p.conn.Wait())
}

func TestRequestsAfterOurEOFAreDropped(t *testing.T) {
	p := raw(t, serve(echo))
	down := make(chan error, 1)
	go func() { down <- p.conn.Shutdown(soon(t)) }()
	p.expectEOF()
	p.write(request(5, 1, "too late"))
	p.write(request(6, 1, string(pattern(100_000))))
	p.write(eof)
	require.NoError(t, receiveFrom(t, down))
	require.EqualValues(t, 2, p.conn.Counters().DroppedRequests.Load())
}
