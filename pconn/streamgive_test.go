package pconn

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet/frame"
)

// A Read that has got something is woken after giveFrom more bytes, at most, and what is left of one frame: whatever those are,
// and whoever takes them meanwhile.
func TestReaderIsWokenInTime(t *testing.T) {
	const all = 4 << 20
	for name, size := range map[string]int{"small frames": 1000, "large ones": 30_000} {
		for _, take := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				c := &Conn{}
				data := func(tag uint64, n int) []byte {
					h := frame.Header(frame.KindData, tag, 0, n)
					b, _ := h.Append(nil)
					return append(b, make([]byte, n)...)
				}
				var input bytes.Buffer
				input.Write(data(1, 10_000))
				for i := uint64(0); input.Len() < all; i++ {
					input.Write(data(2+i%3, size))
				}
				c.in = bufio.InputBytes(input.Bytes())
				c.st.streams.theirs = map[uint64]*Stream{}
				for id := range uint64(5) {
					s := &Stream{conn: c, id: id}
					s.in.wake, s.in.window.left = make(chan struct{}, 1), all
					c.st.streams.theirs[id] = s
				}
				c.st.streams.lastTheirs = 4
				first := c.st.streams.theirs[1]
				first.in.into = make([]byte, 1<<20)
				next := func() {
					h, n, err := c.buffered()
					require.NoError(t, err)
					require.NoError(t, c.in.Skip(int64(n)))
					require.NoError(t, c.receiveData(&h))
				}
				next()
				require.NotNil(t, first.in.into, "more is there to be received")
				for len(first.in.wake) == 0 {
					next()
					require.LessOrEqual(t, c.in.Offset(), int64(10_000+giveFrom+size+100))
					for id := uint64(2); take && id < 5; id++ {
						c.st.streams.theirs[id].in.buf = chunks{}
					}
				}
				require.Greater(t, c.in.Offset(), int64(giveFrom/2), "it is woken with others")
			})
		}
	}
}
