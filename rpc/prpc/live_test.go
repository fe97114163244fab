package prpc_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// peer returns a command that runs one of the kit's programs with the original library, which
// PRPC_LIB names: the folder that holds its package.
func peer(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	lib := os.Getenv("PRPC_LIB")
	if lib == "" {
		t.Skip("live peer absent: prpc: PRPC_LIB does not name a checkout of the original")
	}
	python := livepeer.Python(t, "prpc")
	lib, err := filepath.Abs(lib)
	require.NoError(t, err)
	cmd := exec.Command(python, append([]string{filepath.Join("testdata", "peers", program), "--lib", lib}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// pythonServer starts the kit's server and returns its URL.
func pythonServer(t testing.TB, args ...string) string {
	t.Helper()
	line := childtest.StartServer(t, peer(t, "server.py", append([]string{"--stdin"}, args...)...))
	var port int
	_, err := fmt.Sscanf(line, "PORT %d", &port)
	require.NoError(t, err)
	return fmt.Sprintf("ws://127.0.0.1:%d/", port)
}

// goServer starts a server with the kit's services.
func goServer(t testing.TB) string {
	t.Helper()
	methods, err := prpctest.Services()
	require.NoError(t, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods, ReadTimeout: time.Second})
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		_ = handler.Close()
		server.Close()
	})
	return wsURL(server)
}

func TestLiveOurClientAgainstTheOriginal(t *testing.T) {
	k := &kit{url: pythonServer(t, "--read-timeout", "1"), readTimeout: time.Second}
	k.run(t)
}

func TestLiveTheOriginalAgainstOurServer(t *testing.T) {
	cmd := peer(t, "client.py", "--read-timeout", "1", goServer(t))
	out, err := cmd.Output()
	t.Logf("%s", out)
	require.NoError(t, err)
	assert.Equal(t, 28, bytes.Count(out, []byte("ok ")))
}

// The original loses a call that comes right behind its handshake, so our server's
// first call waits.
func TestLiveCallRightBehindTheHandshake(t *testing.T) {
	answers := make(chan any, 1)
	handler := prpc.NewServer(&prpc.Options{OnConnect: func(_ context.Context, c *prpc.Conn) error {
		go func() { answers <- outcomeOf(c.Call(context.Background(), "hello", "there")) }()
		return nil
	}})
	server := httptest.NewServer(handler)
	defer server.Close()
	defer func() { _ = handler.Close() }()
	out, err := peer(t, "callee.py", wsURL(server)).Output()
	require.NoError(t, err)
	assert.Equal(t, "there\n", string(out))
	assert.Equal(t, "hello there", <-answers)
}

// BenchmarkLive compares the original with us, in calls or messages a second. One
// run takes turns; compare only within it.
func BenchmarkLive(b *testing.B) {
	python := pythonServer(b)
	ours := startServer(b, serveServices)
	b.Run("bare/inflight=1", func(b *testing.B) { benchBare(b, startServer(b, serveBareEcho)) })
	for _, inflight := range []int{1, 64} {
		for _, stream := range []bool{false, true} {
			kind := "unary"
			if stream {
				kind = "bistream"
			}
			name := fmt.Sprintf("%s/inflight=%d", kind, inflight)
			b.Run(name+"/PythonToPython", func(b *testing.B) { benchPython(b, python, inflight, stream) })
			b.Run(name+"/GoToGo", func(b *testing.B) { benchGo(b, ours, inflight, stream) })
			b.Run(name+"/PythonToGo", func(b *testing.B) { benchPython(b, ours, inflight, stream) })
			b.Run(name+"/GoToPython", func(b *testing.B) { benchGo(b, python, inflight, stream) })
		}
	}
}

// benchBare is the floor for one call in flight: a message as large as a call's back and forth between two
// processes, on the same WebSocket library, without anything else.
func benchBare(b *testing.B, url string) {
	ctx := b.Context()
	ws, _, err := websocket.Dial(ctx, url, nil)
	require.NoError(b, err)
	defer func() { _ = ws.CloseNow() }()
	message := make([]byte, 32)
	echo := func(d time.Duration) (count int) {
		for start := time.Now(); time.Since(start) < d; count++ {
			require.NoError(b, ws.Write(ctx, websocket.MessageBinary, message))
			_, _, err := ws.Read(ctx)
			require.NoError(b, err)
		}
		return count
	}
	echo(warmUp)
	for b.Loop() {
		start := time.Now()
		count := echo(time.Second)
		b.ReportMetric(float64(count)/time.Since(start).Seconds(), "calls/s")
	}
	b.ReportMetric(0, "ns/op")
}

// warmUp is how long each program calls before it measures, one call at a time, as the original's program does.
const warmUp = 200 * time.Millisecond

func benchPython(b *testing.B, url string, inflight int, stream bool) {
	args := []string{url, "--inflight", strconv.Itoa(inflight)}
	if stream {
		args = append(args, "--stream")
	}
	for b.Loop() {
		out, err := peer(b, "bench.py", args...).Output()
		require.NoError(b, err)
		rate, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		require.NoError(b, err)
		b.ReportMetric(rate, "calls/s")
	}
	b.ReportMetric(0, "ns/op")
}

func benchGo(b *testing.B, url string, inflight int, stream bool) {
	c, err := prpc.Dial(b.Context(), url, nil)
	require.NoError(b, err)
	defer func() { _ = c.Close() }()
	worker := echoUnary
	if stream {
		worker = echoStream
	}
	var warm int
	require.NoError(b, worker(b, c, &warm, time.Now().Add(warmUp)))
	for b.Loop() {
		start := time.Now()
		counts := make([]int, inflight)
		err := all(inflight, func(n int) error { return worker(b, c, &counts[n], start.Add(time.Second)) })
		require.NoError(b, err)
		total := 0
		for _, n := range counts {
			total += n
		}
		b.ReportMetric(float64(total)/time.Since(start).Seconds(), "calls/s")
	}
	b.ReportMetric(0, "ns/op")
}

func echoUnary(b *testing.B, c *prpc.Conn, count *int, deadline time.Time) error {
	for time.Until(deadline) > 0 {
		got, err := c.Call(b.Context(), "echo.args", benchPayload)
		if err != nil {
			return err
		}
		if list, ok := got.([]any); !ok || len(list) != 1 || !isPayload(list[0]) {
			return fmt.Errorf("echo of %v", got)
		}
		*count++
	}
	return nil
}

// isPayload tells an echo of the payload. The original's program looks too.
func isPayload(got any) bool {
	data, ok := got.([]byte)
	return ok && bytes.Equal(data, benchPayload)
}

func echoStream(b *testing.B, c *prpc.Conn, count *int, deadline time.Time) error {
	call, err := c.Start(b.Context(), prpc.BiStream, "echo.duplex")
	if err != nil {
		return err
	}
	defer call.Cancel()
	for time.Until(deadline) > 0 {
		if err := call.Stream().Send(b.Context(), benchPayload); err != nil {
			return err
		}
		got, err := call.Stream().Recv(b.Context())
		if err != nil {
			return err
		}
		if !isPayload(got) {
			return fmt.Errorf("echo of %v", got)
		}
		*count++
	}
	_, err = call.Result(b.Context())
	return err
}
