//go:build linux

package endpoint_test

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// pingSize is how many bytes go back and forth.
const pingSize = 16

// BenchmarkRoundTrip compares a call to a child, one at a time, with the same bytes back and forth through two
// os.Files and no packets.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("files", func(b *testing.B) {
		r1, w1, err := os.Pipe()
		require.NoError(b, err)
		r2, w2, err := os.Pipe()
		require.NoError(b, err)
		cmd := childtest.Command("ping-pong")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = r1, w2, os.Stderr
		require.NoError(b, cmd.Start())
		closeFiles(r1, w2)
		ping, pong := bytes.Repeat([]byte("x"), pingSize), make([]byte, pingSize)
		b.ReportAllocs()
		for b.Loop() {
			_, err := w1.Write(ping)
			require.NoError(b, err)
			_, err = io.ReadFull(r2, pong)
			require.NoError(b, err)
		}
		closeFiles(w1, r2)
		require.NoError(b, cmd.Wait())
	})
	b.Run("packets", func(b *testing.B) {
		child := start(b, nil, "serve")
		ping := bytes.Repeat([]byte("x"), pingSize)
		b.ReportAllocs()
		for b.Loop() {
			_, err := child.Do(b.Context(), pconn.Request{Payload: ping})
			require.NoError(b, err)
		}
		require.NoError(b, child.Close())
	})
}

// BenchmarkStart is starting a child until its first answer, and to its end, beside a bare start of the same
// program, one round trip of bytes, and its end.
func BenchmarkStart(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			bareStart(b)
		}
	})
	for _, name := range []string{"first answer", "and close"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				child := startToFirstAnswer(b)
				if name == "first answer" {
					b.StopTimer()
				}
				require.NoError(b, child.Close())
				b.StartTimer()
			}
		})
	}
}

func bareStart(b testing.TB) {
	cmd := childtest.Command("ping-pong")
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	ping := make([]byte, pingSize)
	_, err = in.Write(ping)
	require.NoError(b, err)
	_, err = io.ReadFull(out, ping)
	require.NoError(b, err)
	require.NoError(b, in.Close())
	require.NoError(b, cmd.Wait())
}

func startToFirstAnswer(b testing.TB) *endpoint.Child {
	cmd := childtest.Command("serve")
	cmd.Stderr = io.Discard
	child, err := endpoint.Start(b.Context(), cmd, nil)
	require.NoError(b, err)
	_, err = child.Do(b.Context(), pconn.Request{Payload: make([]byte, pingSize)})
	require.NoError(b, err)
	return child
}

// BenchmarkStartRatio takes the two in turn, since the machine is not the same from one second to the next, and
// gives the first answer's time as a multiple of the bare start's.
func BenchmarkStartRatio(b *testing.B) {
	var bare, ours time.Duration
	for b.Loop() {
		begin := time.Now()
		bareStart(b)
		bare += time.Since(begin)
		begin = time.Now()
		child := startToFirstAnswer(b)
		ours += time.Since(begin)
		require.NoError(b, child.Close())
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-bare")
	b.ReportMetric(float64(bare.Microseconds())/float64(b.N), "µs-bare")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs-first-answer")
}
