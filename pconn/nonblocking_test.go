package pconn_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// marked returns Options with a handler marked NonBlocking.
func marked(h handler) *pconn.Options {
	return &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(h))}
}

// TestMarkedHandlersAnswersAreSentBeforeTheirMemoryIsUsedAgain lets answers wait that are part of the
// requests' payloads, while rejections, which leave first, and more requests come.
func TestMarkedHandlersAnswersAreSentBeforeTheirMemoryIsUsedAgain(t *testing.T) {
	p := rawSized(t, marked(echo), 64<<10, 4<<10)
	const n, size = 200, 40_000
	go func() {
		for i := range uint64(n) {
			b := append(request(10+i, 1, string(filled(size, byte(i+1)))),
				encode(packet.Packet{Tag: 10 + i, Channel: 5, Request: true, Type: 1})...)
			if p.tryWrite(b) != nil {
				return
			}
		}
	}()
	answers := 0
	for range 2 * n {
		got := p.read()
		if got.Channel == 5 {
			continue
		}
		answers++
		require.Len(t, got.Payload, size)
		require.True(t, bytes.Equal(filled(size, byte(got.Tag-9)), got.Payload), "the answer to tag %d begins %x", got.Tag, got.Payload[:8])
	}
	require.Equal(t, n, answers)
}

func TestMarkedHandlerMayAnswerWithAPartOfItsPayload(t *testing.T) {
	p := raw(t, marked(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(req.Payload[len(req.Payload)/2:]), nil
	}))
	for _, size := range []int{0, 1, 100, 30_000, 200_000} {
		want := pattern(size)
		p.write(request(uint64(size+2), 1, string(want)))
		p.expectResponse(uint64(size+2), true, string(want[size/2:]))
	}
}

func TestMarkedHandlersContextRefusesCalls(t *testing.T) {
	var errs []error
	p := raw(t, marked(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		_, err := req.Conn.Do(ctx, pconn.Request{})
		errs = append(errs, err)
		_, err = req.Conn.Submit(ctx, pconn.Request{})
		errs = append(errs, err, req.Conn.Notify(ctx, pconn.Request{}))
		return pconn.None(), nil
	}))
	p.write(request(5, 0, ""))
	p.expectResponse(5, true, "")
	require.Equal(t, []error{pconn.ErrNonBlocking, pconn.ErrNonBlocking, pconn.ErrNonBlocking}, errs)
}

func TestMarkedHandlersFailures(t *testing.T) {
	o := marked(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case 0:
			return pconn.Bytes(req.Payload), nil
		case 1:
			return pconn.None(), pconn.Errorf("told: %s", req.Payload)
		default:
			panic(string(req.Payload))
		}
	})
	o.OnHandlerError = func(*pconn.Request, error) { runtime.Goexit() }
	p := raw(t, o)
	for _, size := range []int{10, 100_000} {
		for range 3 {
			payload := string(filled(size, 'x'))
			p.write(request(5, 1, payload))
			p.expectResponse(5, false, ("told: " + payload)[:min(1024, size+6)])
			p.write(request(6, 2, payload))
			p.expectResponse(6, false, failedText)
			p.write(request(7, 0, payload))
			p.expectResponse(7, true, payload)
		}
	}
}

// TestRequestOfAMarkedHandlerThatEndsItsGoroutine is seen whole by OnHandlerError, whatever comes meanwhile: receiving
// goes on without that goroutine, in the memory that the payload came in.
func TestRequestOfAMarkedHandlerThatEndsItsGoroutine(t *testing.T) {
	o := marked(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			runtime.Goexit()
		}
		return pconn.None(), nil
	})
	cameMeanwhile, seen := make(chan struct{}), make(chan string, 1)
	o.OnHandlerError = func(req *pconn.Request, _ error) {
		<-cameMeanwhile
		seen <- string(req.Payload)
	}
	a, _ := pair(t, nil, o)
	payload := filled(100, 'a')
	failed := do(soon(t), a, pconn.Request{Type: 1, Payload: payload})
	for range 200 {
		_, err := a.Do(soon(t), pconn.Request{Payload: filled(100, 'b')})
		require.NoError(t, err)
	}
	close(cameMeanwhile)
	require.Equal(t, string(payload), receiveFrom(t, seen))
	require.Error(t, receiveFrom(t, failed).err)
}

func TestMarkedHandlersTruncatedPayload(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		p := raw(t, marked(echo))
		b := request(5, 0, string(pattern(size)))
		p.write(b[:len(b)-1])
		p.out.Close()
		var perr *pconn.ProtocolError
		require.ErrorAs(t, p.conn.Wait(), &perr)
		require.Contains(t, perr.Reason, "inside a payload")
	}
}

func TestCloseInAMarkedHandler(t *testing.T) {
	for name, end := range map[string]func(c *pconn.Conn){
		"Close":    func(c *pconn.Conn) { c.Close() },
		"Shutdown": func(c *pconn.Conn) { c.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := raw(t, marked(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
				end(req.Conn)
				return pconn.None(), nil
			}))
			p.write(request(5, 0, ""))
			for {
				if got := p.read(); got.Request {
					require.Equal(t, packet.EOF(), normal(got))
					break
				}
			}
			p.out.Close()
			receiveFrom(t, p.conn.Done())
		})
	}
}

func TestMarkedHandlersInAMux(t *testing.T) {
	mux := pconn.NewMux()
	mux.Handle(0, pconn.NonBlocking(pconn.HandlerFunc(echo)))
	mux.HandleWith(1, pconn.RouteOptions{MaxHandlers: 1}, pconn.NonBlocking(pconn.HandlerFunc(echo)))
	mux.HandleFunc(2, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		resp, err := req.Conn.Do(ctx, pconn.Request{Payload: req.Payload})
		return pconn.Bytes(resp.Payload), err
	})
	a, _ := pair(t, serve(echo), &pconn.Options{Handler: mux})
	for i := range 300 {
		want := pattern(i * 300)
		resp, err := a.Do(soon(t), pconn.Request{Type: uint64(i % 3), Payload: want})
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, resp.Payload))
	}
}
