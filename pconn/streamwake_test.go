package pconn_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// TestWhatHasComeIsNotHeldBack checks that a reader gets what has come although what follows has only begun, however the two were
// written.
func TestWhatHasComeIsNotHeldBack(t *testing.T) {
	const size = 10_000
	data := func(n int) []byte { return frameBytes(frame.KindData, 1, 0, pattern(n)) }
	for name, next := range map[string][]byte{
		"nothing":                           nil,
		"the first byte of a packet":        data(size)[:1],
		"a header":                          data(size)[:4],
		"a header and a part":               data(size)[:6000],
		"a small part of a small frame":     data(100)[:50],
		"the header of another stream's":    frameBytes(frame.KindData, 2, 0, pattern(size))[:4],
		"a part of a request":               request(77, 7, string(pattern(size)))[:500],
		"another frame":                     frameBytes(frame.KindPing, 9, 0, nil),
		"another frame and a part of DATA":  append(frameBytes(frame.KindPing, 9, 0, nil), data(size)[:100]...),
		"the end of the stream":             frameBytes(frame.KindEnd, 1, 0, nil),
		"another stream's data":             frameBytes(frame.KindData, 2, 0, pattern(size)),
		"parts of another stream's data":    append(frameBytes(frame.KindData, 2, 0, pattern(size)), frameBytes(frame.KindData, 2, 0, pattern(size))[:5000]...),
		"a part of data that is dropped":    frameBytes(frame.KindData, 3, 0, pattern(size))[:5000],
		"many frames and a part of another": append(bytes.Repeat(data(size), 3), data(size)[:100]...),
	} {
		for _, waits := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p := rawPipes(t, &pconn.Options{Listen: []string{""}})
				p.extended(frame.Hello{MaxStreams: 9, StreamCredit: 1})
				l, err := p.conn.Listen("")
				require.NoError(t, err)
				var streams []*pconn.Stream
				for tag := range uint64(3) {
					p.sendFrame(frame.KindOpen, tag+1, 0, (&frame.Open{}).Append(nil))
					s, err := l.AcceptStream(soon(t))
					require.NoError(t, err)
					streams = append(streams, s)
				}
				require.NoError(t, streams[2].CloseRead())
				got, read := make([]byte, size), make(chan error, 1)
				reader := func() {
					_, err := io.ReadFull(streams[0], got)
					read <- err
				}
				if waits {
					go reader()
					go streams[1].Read(make([]byte, 10*size)) // until the connection ends, at the latest
				}
				p.write(append(data(size), next...))
				if !waits {
					go reader()
				}
				require.NoError(t, receiveFrom(t, read))
				require.Equal(t, pattern(size), got)
			})
		}
	}
}

// A Write waits for a write that has its memory. When that fails and is dropped, it says how much had left, and its memory
// is its own again.
func TestWriteThatIsDropped(t *testing.T) {
	const room, size = 10_000, 1 << 20
	p := rawSized(t, nil, 1<<20, room)
	p.extended(frame.Hello{MaxStreams: 9, StreamCredit: 2 * size})
	s, err := p.conn.OpenStream(soon(t), "", nil)
	require.NoError(t, err)
	p.expectStream(frame.KindOpen, 1, 0)
	type result struct {
		n   int
		err error
	}
	wrote, memory := make(chan result, 1), pattern(size)
	go func() {
		n, err := s.Write(memory)
		wrote <- result{n, err}
	}()
	// The write has begun, and blocks behind what there is room for.
	b, err := p.in.Peek(room)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(b), room)
	eventually(t, "the sender has it", func() bool { return p.conn.Counters().SenderHandovers.Load() > 0 })
	select {
	case <-wrote:
		require.FailNow(t, "it did not wait")
	default:
	}
	require.NoError(t, p.in.Close())
	r := receiveFrom(t, wrote)
	require.ErrorIs(t, r.err, pconn.ErrPeerGone)
	require.Less(t, r.n, size)
	clear(memory) // which the race detector would see being read
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, pconn.ErrPeerGone)
}

// TestReadsOfAnySize checks that what is read in pieces of any size, while it comes in frames of any size, is what was sent.
func TestReadsOfAnySize(t *testing.T) {
	a, b := pipes(t, nil, nil)
	x, y := streamPair(t, a, b)
	want := pattern(8 << 20)
	go func() {
		for left, i := want, 0; len(left) > 0; i++ {
			n := min(len(left), []int{1, 100, 5000, 70_000, 8192, 300_000, 33_000}[i%7])
			if _, err := x.Write(left[:n]); err != nil {
				t.Error(err)
				return
			}
			left = left[n:]
		}
		x.CloseWrite()
	}()
	var got []byte
	buf := make([]byte, 100_000)
	for i := 0; ; i++ {
		n, err := y.Read(buf[:[]int{65536, 10, 100_000, 5000, 40_000}[i%5]])
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.True(t, bytes.Equal(want, got))
}
