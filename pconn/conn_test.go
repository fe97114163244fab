package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

func TestMain(m *testing.M) {
	if os.Getenv(relayVariable) != "" {
		relay()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if pconn.NoBatchChanged() {
			fmt.Fprintln(os.Stderr, "something was put into the batch that all idle connections hold")
			code = 1
		}
		os.Exit(code)
	}))
}

// echo answers with the request's own flags and payload.
func echo(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	return pconn.FlagsBytes(req.Flags, req.Payload), nil
}

// pair returns two connected ends in memory, closed when the test ends.
func pair(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	t.Helper()
	x, y, err := pconn.Pipe(a, b)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
	return x, y
}

// pipes returns two connected ends over two pipes of the system.
func pipes(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	t.Helper()
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	x, err := pconn.New(bufio.OwnInput(r1), bufio.OwnOutput(w2), a)
	require.NoError(t, err)
	y, err := pconn.New(bufio.OwnInput(r2), bufio.OwnOutput(w1), b)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
		for _, f := range []*os.File{r1, w1, r2, w2} {
			f.Close()
		}
	})
	return x, y
}

func TestDo(t *testing.T) {
	a, _ := pair(t, nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	resp, err := a.Do(t.Context(), pconn.Request{Type: 3, Flags: 5, Payload: []byte("hello")})
	require.NoError(t, err)
	require.Equal(t, pconn.Response{OK: true, Flags: 5, Payload: []byte("hello")}, resp)
}

func TestShutdownBothEnds(t *testing.T) {
	a, b := pipes(t, nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	_, err := a.Do(t.Context(), pconn.Request{Payload: []byte("x")})
	require.NoError(t, err)
	require.NoError(t, a.Shutdown(t.Context()))
	require.NoError(t, b.Wait())
	require.ErrorIs(t, a.Err(), pconn.ErrClosed)
	require.ErrorIs(t, b.Err(), pconn.ErrPeerClosed)
}

func TestNestedCalls(t *testing.T) {
	var a, b *pconn.Conn
	var mu sync.Mutex
	nest := func(self **pconn.Conn) pconn.HandlerFunc {
		return func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Flags == 0 {
				return pconn.Text("bottom"), nil
			}
			mu.Lock()
			c := *self
			mu.Unlock()
			resp, err := c.Do(ctx, pconn.Request{Flags: req.Flags - 1})
			return pconn.Bytes(resp.Payload), err
		}
	}
	mu.Lock()
	a, b = pair(t, &pconn.Options{Handler: nest(&a), MaxHandlers: 4}, &pconn.Options{Handler: nest(&b), MaxHandlers: 4})
	mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range []*pconn.Conn{a, b} {
		wg.Go(func() {
			resp, err := c.Do(t.Context(), pconn.Request{Flags: 1000})
			require.NoError(t, err)
			require.Equal(t, "bottom", string(resp.Payload))
		})
	}
	wg.Wait()
}

func TestNonBlockingHandler(t *testing.T) {
	a, b := pipes(t, nil, &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(
		func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			switch req.Type {
			case 1:
				_, err := req.Conn.Do(ctx, pconn.Request{})
				return pconn.Reply{}, pconn.Errorf("%w", err)
			case 2:
				runtime.Goexit()
			case 3:
				panic("on purpose")
			}
			return pconn.FlagsBytes(req.Flags, req.Payload), nil
		}))})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				payload := bytes.Repeat([]byte{byte(g), byte(i)}, i*i*(g%2)+i)
				resp, err := a.Do(t.Context(), pconn.Request{Flags: uint64(i), Payload: payload})
				if assert.NoError(t, err) {
					assert.Equal(t, uint64(i), resp.Flags)
					assert.True(t, bytes.Equal(payload, resp.Payload))
				}
				_, err = a.Do(t.Context(), pconn.Request{Type: uint64(1 + i%3), Payload: payload})
				var remote *pconn.RemoteError
				assert.ErrorAs(t, err, &remote)
			}
		})
	}
	wg.Wait()
	require.Empty(t, b.InFlight())
}

func BenchmarkDo(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		for _, par := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("size=%d/inflight=%d", size, par), func(b *testing.B) {
				c, _ := pipes(b, nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				payload := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				each := b.N/par + 1
				for range par {
					wg.Go(func() {
						for range each {
							if _, err := c.Do(ctx, pconn.Request{Payload: payload}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
