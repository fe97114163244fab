//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// echoBarely writes what it reads, by files that the runtime polls.
func echoBarely() int {
	for fd := range 2 {
		if err := syscall.SetNonblock(fd, true); err != nil {
			return exitFailed
		}
	}
	in, out := os.NewFile(0, "stdin"), os.NewFile(1, "stdout")
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return exitOK
		}
		if err == nil {
			_, err = out.Write(buf[:n])
		}
		if err != nil {
			return exitFailed
		}
	}
}

// startBare starts a process that is echoBarely. Bytes go back and forth by files that the runtime polls here, too.
func startBare(b *testing.B) (in, out *os.File) {
	b.Helper()
	cmd := exec.Command(self(b))
	cmd.Env = append(os.Environ(), asVariable+"=bare")
	theirIn, out, err := os.Pipe()
	require.NoError(b, err)
	in, theirOut, err := os.Pipe()
	require.NoError(b, err)
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	require.NoError(b, cmd.Start())
	require.NoError(b, theirIn.Close())
	require.NoError(b, theirOut.Close())
	b.Cleanup(func() {
		_ = out.Close()
		require.NoError(b, cmd.Wait())
		_ = in.Close()
	})
	return in, out
}

// startEcho starts a process that is packetstream serve --handler echo.
func startEcho(b *testing.B) *endpoint.Child {
	b.Helper()
	cmd := exec.Command(self(b), "serve", "--handler", "echo")
	cmd.Env = environment()
	child, err := endpoint.Start(b.Context(), cmd, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, child.Close()) })
	return child
}

// BenchmarkSequential measures sequential 16-byte requests over a subprocess's pipes beside the same bytes going
// back and forth without packets. The two take turns, and x-bare is the median of how many times as long the
// requests took. An operation is one request and one turn without packets.
func BenchmarkSequential(b *testing.B) {
	in, out := startBare(b)
	child := startEcho(b)
	ctx := context.Background()
	payload, back := make([]byte, 16), make([]byte, 16)
	bare := func() {
		_, err := out.Write(payload)
		require.NoError(b, err)
		_, err = io.ReadFull(in, back)
		require.NoError(b, err)
	}
	packets := func() {
		_, err := child.Do(ctx, pconn.Request{Payload: payload})
		require.NoError(b, err)
	}
	const turn = 500
	var ratios []float64
	var spent [2]time.Duration
	done := 0
	for b.Loop() {
		// A round of turns belongs to as many operations.
		if done++; done%turn != 1 {
			continue
		}
		var took [2]time.Duration
		for i, f := range []func(){bare, packets} {
			began := time.Now()
			for range turn {
				f()
			}
			took[i] = time.Since(began)
			spent[i] += took[i]
		}
		ratios = append(ratios, float64(took[1])/float64(took[0]))
	}
	slices.Sort(ratios)
	perTurn := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(len(ratios)*turn) }
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
	b.ReportMetric(perTurn(spent[0]), "ns/bare")
	b.ReportMetric(perTurn(spent[1]), "ns/request")
}

// BenchmarkCall measures requests that are echoed. Bytes are counted one way, allocations in this process.
func BenchmarkCall(b *testing.B) {
	carriers := []struct {
		name string
		conn func(*testing.B) *pconn.Conn
	}{
		{"pipes", func(b *testing.B) *pconn.Conn { return startEcho(b).Conn }},
		{"memory", memoryEcho},
	}
	for _, carrier := range carriers {
		for _, size := range []int{16, 4 << 10, 64 << 10} {
			for _, inFlight := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%dB/x%d", carrier.name, size, inFlight), func(b *testing.B) {
					benchmarkCall(b, carrier.conn(b), size, inFlight)
				})
			}
		}
	}
}

// memoryEcho returns a connection in memory to a handler that echoes.
func memoryEcho(b *testing.B) *pconn.Conn {
	b.Helper()
	conn, peer, err := pconn.Pipe(nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, conn.Close())
		require.NoError(b, peer.Close())
	})
	return conn
}

func benchmarkCall(b *testing.B, conn *pconn.Conn, size, inFlight int) {
	ctx := context.Background()
	payload := make([]byte, size)
	_, err := conn.Do(ctx, pconn.Request{Payload: payload})
	require.NoError(b, err)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var made atomic.Int64
	var callers sync.WaitGroup
	for range inFlight {
		callers.Go(func() {
			for made.Add(1) <= int64(b.N) {
				if _, err := conn.Do(ctx, pconn.Request{Payload: payload}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.StopTimer()
}
