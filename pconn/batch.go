package pconn

import (
	"sync"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// batch is packets that leave together, and what is to be known of them.
type batch struct {
	bufio.Batch
	packets int
	answers int32           // responses among them
	replies int32           // responses in pieces whose packets are among them
	size    int             // bytes, when its writing began
	buffers [][]byte        // that they refer to, for bufferList to have back when they have left
	streams []*Stream       // whose writers' memory they refer to
	larges  []*large        // sent in pieces, whose packets are among them
	headers []packet.Header // of frames that those who look on do not know of yet
	spare   *batch          // the next spare one
}

// noBatch is what a connection with nothing to send holds. Nothing is ever put into it, or changed in it, by anybody.
var noBatch batch

// toFill returns the batch to append to. Among many connections the one that another has just given back is in a cache still, as
// one of the connection's own would not be.
func (s *sender) toFill() *batch {
	if s.pending == &noBatch {
		s.pending = s.takeSpare()
	}
	return s.pending
}

// spares are small empty batches for whatever connection writes next, so that one that is idle keeps none.
var spares = sync.Pool{New: func() any { return new(batch) }}

// maxShared is how much memory may be in a batch that other connections may have. What a busy one needs stays with that: many that send
// little would hand one another the large ones, and who needs those would grow others.
const maxShared = 4 << 10

// takeSpare returns an empty batch.
func (s *sender) takeSpare() *batch {
	b := s.spare
	if b == nil {
		return spares.Get().(*batch)
	}
	s.spare, b.spare = b.spare, nil
	return b
}

// leaveSpares is called when nobody writes any more. A batch of which somebody may have a Ref stays, since this connection's
// lock guards it, and so does a large one.
func (s *sender) leaveSpares() {
	for b := s.spare; b != nil && !b.HadRefs() && b.Kept() <= maxShared; b = s.spare {
		s.spare, b.spare = b.spare, nil
		spares.Put(b)
	}
}

// note counts a frame that was appended while the batch is made.
func (b *batch) note(c *Conn, h *packet.Header) {
	b.packets++
	c.st.sender.countQueued()
	c.counters.PacketsOut.Add(1)
	c.counters.BytesOut.Add(uint64(h.Len()) + uint64(h.Size))
	if c.watch != nil {
		b.headers = append(b.headers, *h)
	}
}

// showFrames tells those who look on of the frames that were made with the batch.
func (c *Conn) showFrames(b *batch) {
	for i := range b.headers {
		c.watch.sent(&b.headers[i], b.headers[i].Len()+int(b.headers[i].Size))
	}
	b.headers = b.headers[:0]
}
