package prpc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// waiting are methods of which one waits until its call is cancelled.
func waiting() (tree prpc.Tree, began, cancelled chan struct{}) {
	began, cancelled = make(chan struct{}, 1000), make(chan struct{}, 1000)
	tree = prpc.Tree{
		"echo": func(v any) any { return v },
		"wait": func(ctx context.Context) error {
			began <- struct{}{}
			<-ctx.Done()
			cancelled <- struct{}{}
			return ctx.Err()
		},
	}
	return tree, began, cancelled
}

// take takes n tokens.
func take(t *testing.T, tokens <-chan struct{}, n int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for i := range n {
		select {
		case <-tokens:
		case <-deadline:
			t.Fatalf("%d of %d", i, n)
		}
	}
}

// TestCallsOfOneContext: when it ends, all its calls are cancelled, here and at the callee, and no others.
func TestCallsOfOneContext(t *testing.T) {
	tree, began, cancelled := waiting()
	c := dialed(t, tree)
	kept, cancelKept := context.WithCancel(t.Context())
	defer cancelKept()
	other := make(chan error, 1)
	go func() {
		_, err := c.Call(kept, "wait")
		other <- err
	}()
	take(t, began, 1)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		const calls = 20
		failed := make(chan error, calls)
		for range calls {
			go func() {
				for i := range 5 { // the session comes to know the context
					if got, err := c.Call(ctx, "echo", i); err != nil || got != int64(i) {
						failed <- fmt.Errorf("echo: %v, %w", got, err)
						return
					}
				}
				_, err := c.Call(ctx, "wait")
				failed <- err
			}()
		}
		take(t, began, calls)
		cancel()
		for range calls {
			require.ErrorIs(t, <-failed, context.Canceled)
		}
		take(t, cancelled, calls)
		_, err := c.Call(ctx, "echo", 1)
		require.ErrorIs(t, err, context.Canceled)
		got, err := c.Call(t.Context(), "echo", "still there")
		require.NoError(t, err)
		assert.Equal(t, "still there", got)
	}
	assert.Empty(t, cancelled)
	cancelKept()
	require.ErrorIs(t, <-other, context.Canceled)
	take(t, cancelled, 1)
}

// TestContextsThatEndMeanwhile: calls get their own answers or their context's error, whenever that ends.
func TestContextsThatEndMeanwhile(t *testing.T) {
	tree, _, _ := waiting()
	c := dialed(t, tree)
	for round := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for n := range 8 {
			callers.Go(func() {
				for i := 0; ; i++ {
					text := fmt.Sprint(round, n, i)
					got, err := c.Call(ctx, "echo", text)
					if err != nil {
						assert.ErrorIs(t, err, context.Canceled)
						return
					}
					if !assert.Equal(t, text, got) || i == 20 && n == 0 {
						cancel()
					}
				}
			})
		}
		callers.Wait()
		cancel()
	}
	assert.Zero(t, c.Active())
}

// TestCallsDoNotShareMemory: what was received is the caller's, and the method's, for good.
func TestCallsDoNotShareMemory(t *testing.T) {
	var mu sync.Mutex
	kept := map[string][]any{}
	c := dialed(t, prpc.Tree{
		"direct": func(args ...any) []any {
			mu.Lock()
			defer mu.Unlock()
			kept[args[0].(string)] = args
			return args
		},
		"typed": func(_ string, raw prpc.Raw) prpc.Raw { return raw },
		"request": prpc.MethodFunc(func(_ context.Context, r *prpc.Request) (any, error) {
			args, err := r.Args()
			return args, err
		}),
	})
	var callers sync.WaitGroup
	for n := range 16 {
		callers.Go(func() {
			results := map[string]any{}
			for i := range 50 {
				text, bytes := fmt.Sprintf("%d %d", n, i), []byte(fmt.Sprintf("%d bytes %d", i, n))
				for _, method := range []string{"direct", "request"} {
					got, err := c.Call(t.Context(), method, text, bytes)
					assert.NoError(t, err)
					results[text+method] = got
				}
				raw, err := prpc.Invoke[prpc.Raw](t.Context(), c, "typed", text, bytes)
				assert.NoError(t, err)
				results[text] = raw
			}
			for i := range 50 {
				text, bytes := fmt.Sprintf("%d %d", n, i), []byte(fmt.Sprintf("%d bytes %d", i, n))
				assert.Equal(t, []any{text, bytes}, results[text+"direct"])
				assert.Equal(t, []any{text, bytes}, results[text+"request"])
				packed, err := prpc.Encode(bytes)
				assert.NoError(t, err)
				assert.Equal(t, prpc.Raw(packed), results[text])
				mu.Lock()
				assert.Equal(t, []any{text, bytes}, kept[text])
				mu.Unlock()
			}
		})
	}
	callers.Wait()
}

// TestRequestsDoNotShareMemory: a method may look at its call late, and after it has returned, whatever was received meanwhile.
func TestRequestsDoNotShareMemory(t *testing.T) {
	const calls = 20
	began, release := make(chan struct{}, calls), make(chan struct{})
	kept := make(chan *prpc.Request, calls)
	c := dialed(t, prpc.Tree{
		"echo": func(v any) any { return v },
		"late": prpc.MethodFunc(func(_ context.Context, r *prpc.Request) (any, error) {
			began <- struct{}{}
			<-release
			return r.Args()
		}),
		"kept": func(r *prpc.Request, _ any) { kept <- r },
	})
	text := func(n int) string { return fmt.Sprintf("the argument of call %d", n) }
	var callers sync.WaitGroup
	for n := range calls {
		callers.Go(func() {
			got, err := c.Call(t.Context(), "late", text(n))
			assert.NoError(t, err)
			assert.Equal(t, []any{text(n)}, got)
		})
	}
	take(t, began, calls)
	for n := range calls {
		_, err := c.Call(t.Context(), "kept", text(n))
		require.NoError(t, err)
		got, err := c.Call(t.Context(), "echo", "what comes behind it")
		require.NoError(t, err)
		require.Equal(t, "what comes behind it", got)
	}
	close(release)
	callers.Wait()
	for n := range calls {
		args, err := (<-kept).Args()
		require.NoError(t, err)
		assert.Equal(t, []any{text(n)}, args)
	}
}

// dialed returns a client of a server with the methods, over a WebSocket.
func dialed(t *testing.T, tree prpc.Tree) *prpc.Conn {
	t.Helper()
	server, _ := wsServer(t, tree, prpc.Options{})
	c, err := prpc.Dial(t.Context(), wsURL(server), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
