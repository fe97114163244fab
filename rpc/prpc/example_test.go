package prpc_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The example program, built and run: a service with streams in each direction, errors and
// calls back, on a free port that it prints.
func TestExampleProgram(t *testing.T) {
	source, err := os.ReadFile("testdata/demo/main.go")
	require.NoError(t, err)
	assert.Less(t, bytes.Count(source, []byte("\n")), 40)
	binary := filepath.Join(t.TempDir(), "demo")
	out, err := exec.Command("go", "build", "-o", binary, "./testdata/demo").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(binary)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var url string
	_, err = fmt.Fscan(stdout, &url)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	methods, err := prpc.NewTree(prpc.Tree{"name": func() string { return "Ada" }})
	require.NoError(t, err)
	c, err := prpc.Dial(ctx, url, &prpc.Options{Methods: methods})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	greeting, err := c.Call(ctx, "greet")
	require.NoError(t, err)
	assert.Equal(t, "hello Ada", greeting)

	call, err := c.Start(ctx, prpc.IStream, "count", 3)
	require.NoError(t, err)
	assert.Equal(t, []any{int64(1), int64(2), int64(3)}, messages(t, call))

	call, err = c.Start(ctx, prpc.BiStream, "totals")
	require.NoError(t, err)
	for n, want := range []int{5, 11, 18} {
		require.NoError(t, call.Stream().Send(ctx, 5+n))
		total, err := prpc.Recv[int](ctx, call.Stream())
		require.NoError(t, err)
		assert.Equal(t, want, total)
	}
	total, err := prpc.Result[int](ctx, call)
	require.NoError(t, err)
	assert.Equal(t, 18, total)

	_, err = c.Call(ctx, "count", "many")
	assert.Equal(t, "TypeError", remoteErr(t, err, prpc.StatusMethodError).CauseType)
	shy, err := prpc.Dial(ctx, url, nil)
	require.NoError(t, err)
	defer func() { _ = shy.Close() }()
	_, err = shy.Call(ctx, "greet")
	assert.Equal(t, "RemoteError", remoteErr(t, err, prpc.StatusMethodError).CauseType)
}

// A server and a client in one program.
func Example() {
	methods, err := prpc.NewTree(prpc.Tree{
		"math": prpc.Tree{"add": func(a, b int) int { return a + b }},
	})
	if err != nil {
		panic(err)
	}
	near, far := newPipe()
	go func() { _, _ = prpc.Accept(context.Background(), far, &prpc.Options{Methods: methods}) }()
	conn, err := prpc.Connect(context.Background(), near, nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	sum, err := prpc.Invoke[int](context.Background(), conn, "math.add", 1, 2)
	fmt.Println(sum, err)
	_, err = conn.Call(context.Background(), "math.subtract")
	fmt.Println(err)
	// Output:
	// 3 <nil>
	// prpc: method_not_found: method 'math.subtract' is not found (KeyError)
}
