package bufio

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var benchSizes = []int{16, 4 << 10, 64 << 10}

func sizeName(n int) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%dKiB", n>>10)
}

// repeating is a Source that gives the same slices a number of times over, as many as possible at once.
type repeating struct {
	bufs  [][]byte
	left  int // bytes
	at    int // bytes of the first slice that are gone
	total int
}

func newRepeating(times int, bufs ...[]byte) *repeating {
	r := &repeating{bufs: bufs}
	for _, b := range bufs {
		r.total += len(b)
	}
	r.left = r.total * times
	return r
}

func (r *repeating) Next(bufs [][]byte) [][]byte {
	offered := 0
	skip := r.at
	for n := 0; n < 256 && offered < r.left && offered < 256<<10; n++ {
		for _, b := range r.bufs {
			k := min(skip, len(b))
			skip -= k
			if k < len(b) {
				bufs = append(bufs, b[k:])
				offered += len(b) - k
			}
		}
	}
	return bufs
}

func (r *repeating) Wrote(n int) {
	r.left -= n
	r.at = (r.at + n) % r.total
}

// benchStreams are what the benchmarks run over.
var benchStreams = map[string]func(b *testing.B) (*Input, *Output){
	"os.Pipe": func(b *testing.B) (*Input, *Output) {
		r, w, err := os.Pipe()
		require.NoError(b, err)
		b.Cleanup(func() { r.Close(); w.Close() })
		return NewInput(r), OwnOutput(w)
	},
	"unix": func(b *testing.B) (*Input, *Output) {
		l, err := net.Listen("unix", "")
		require.NoError(b, err)
		defer l.Close()
		c, err := net.Dial("unix", l.Addr().String())
		require.NoError(b, err)
		s, err := l.Accept()
		require.NoError(b, err)
		b.Cleanup(func() { c.Close(); s.Close() })
		return NewInput(c), OwnOutput(s.(io.WriteCloser))
	},
	"memory": func(*testing.B) (*Input, *Output) { return Pipe(0) },
}

// BenchmarkInput reads packets of a peeked header of 4 bytes and a payload into the caller's memory.
func BenchmarkInput(b *testing.B) {
	for name, open := range benchStreams {
		for _, size := range benchSizes {
			b.Run(name+"/"+sizeName(size), func(b *testing.B) {
				in, out := open(b)
				n := b.N
				done := make(chan error, 1)
				go func() {
					err := out.Write(newRepeating(n, pattern(4), pattern(size)), true)
					out.Close()
					done <- err
				}()
				p := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for range n {
					if _, err := in.Peek(4); err != nil {
						b.Fatal(err)
					}
					in.Skip(4)
					if err := in.ReadFull(p); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				require.NoError(b, <-done)
			})
		}
	}
}

// BenchmarkOutput writes packets of a header of 4 bytes and a payload, one per Write, as one buffer and gathered.
func BenchmarkOutput(b *testing.B) {
	for _, size := range benchSizes {
		for _, how := range []string{"one", "gathered"} {
			b.Run(how+"/"+sizeName(size), func(b *testing.B) {
				in, out := benchStreams["os.Pipe"](b)
				done := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, in)
					done <- err
				}()
				var batch Batch
				header, payload := pattern(4), pattern(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					buf := append(batch.Begin(), header...)
					if how == "one" {
						batch.End(append(buf, payload...))
					} else {
						batch.EndRef(buf, payload)
					}
					if err := out.Write(&batch, true); err != nil {
						b.Fatal(err)
					}
				}
				require.NoError(b, out.Close())
				require.NoError(b, <-done)
			})
		}
	}
}

// BenchmarkPingPong sends one packet of 16 bytes back and forth, beside the same through two os.Files.
func BenchmarkPingPong(b *testing.B) {
	const size = 16
	b.Run("os.File", func(b *testing.B) {
		r1, w1, err := os.Pipe()
		require.NoError(b, err)
		r2, w2, err := os.Pipe()
		require.NoError(b, err)
		defer r2.Close()
		go func() {
			p := make([]byte, size)
			for {
				if _, err := io.ReadFull(r1, p); err != nil {
					w2.Close()
					r1.Close()
					return
				}
				w2.Write(p)
			}
		}()
		p := make([]byte, size)
		b.ReportAllocs()
		for b.Loop() {
			w1.Write(p)
			if _, err := io.ReadFull(r2, p); err != nil {
				b.Fatal(err)
			}
		}
		w1.Close()
		io.Copy(io.Discard, r2)
	})
	for _, name := range []string{"os.Pipe", "memory"} {
		b.Run(name, func(b *testing.B) {
			in1, out1 := benchStreams[name](b)
			in2, out2 := benchStreams[name](b)
			echo := func(in *Input, out *Output, batch *Batch) error {
				p, err := in.Peek(size)
				if err != nil {
					return err
				}
				batch.End(append(batch.Begin(), p[:size]...))
				in.Skip(size)
				return out.Write(batch, true)
			}
			done := make(chan error, 1)
			go func() {
				var batch Batch
				for {
					if err := echo(in1, out2, &batch); err != nil {
						done <- err
						return
					}
				}
			}()
			var batch Batch
			batch.End(append(batch.Begin(), make([]byte, size)...))
			require.NoError(b, out1.Write(&batch, true))
			b.ReportAllocs()
			for b.Loop() {
				if err := echo(in2, out1, &batch); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, out1.Close())
			require.Equal(b, io.EOF, <-done)
		})
	}
}

// BenchmarkBatch appends packets of 16 bytes and lets go of them 64 at a time.
func BenchmarkBatch(b *testing.B) {
	for _, how := range []string{"copied", "by reference"} {
		b.Run(how, func(b *testing.B) {
			var batch Batch
			var bufs [][]byte
			header, payload := pattern(4), pattern(16)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				buf := append(batch.Begin(), header...)
				if how == "copied" {
					batch.End(append(buf, payload...))
				} else {
					batch.EndRef(buf, payload)
				}
				if i%64 == 63 {
					bufs = batch.Next(bufs[:0])
					batch.Wrote(batch.Len())
				}
			}
		})
	}
}
