package pconn

import "math/bits"

// chunks is bytes that were received and wait for their reader, in pieces of memory that were taken as they
// came: what is held is at most about twice what is in it, however small the packets were.
//
// Conn.mu guards its fields. The bytes that room gives are the receiver's alone until filled, and those that next
// gives the reader's until taken, whatever happens meanwhile.
type chunks struct {
	list    []chunk
	head    int // the first of list
	bytes   int
	filling bool // the receiver writes to the last of list
	dropped bool
}

// chunk is one piece: buf[r:w] waits to be read.
type chunk struct {
	buf  []byte
	r, w int
}

// leave gives the piece's memory back for the next that is as large.
func (c *chunk) leave(pool *bufferList) {
	if len(c.buf) > keepChunk {
		pool.put(c.buf)
	}
}

const (
	minChunk  = 512
	keepChunk = 4 << 10 // a larger piece is not kept for a stream that has nothing to read
	maxChunk  = streamPiece
)

// room returns memory for the next bytes, at most want of them. They count when filled is called.
func (c *chunks) room(want int, pool *bufferList) []byte {
	c.filling = true
	if n := len(c.list); n > c.head {
		last := &c.list[n-1]
		if free := len(last.buf) - last.w; free > 0 {
			return last.buf[last.w : last.w+min(free, want)]
		}
	}
	size := min(max(want, minChunk, c.bytes), maxChunk)
	var buf []byte
	if size > keepChunk {
		// What is left of a frame may be of any size. Of few sizes one is at hand as a rule, where bulk would have the
		// collector run all the time otherwise, and everybody wait for that.
		size = 1 << bits.Len(uint(size-1))
		buf = pool.get(size)
	}
	if buf == nil {
		buf = make([]byte, size)
	}
	if c.head > 0 && len(c.list) == cap(c.list) {
		n := copy(c.list, c.list[c.head:])
		clear(c.list[n:])
		c.list, c.head = c.list[:n], 0
	}
	c.list = append(c.list, chunk{buf: buf})
	return buf[:min(size, want)]
}

// filled counts n bytes that were written to what room returned.
func (c *chunks) filled(n int) {
	c.filling = false
	if c.dropped {
		return
	}
	c.list[len(c.list)-1].w += n
	c.bytes += n
}

// next returns the first bytes that wait, or nil.
func (c *chunks) next(pool *bufferList) []byte {
	if c.bytes == 0 {
		return nil
	}
	for c.list[c.head].r == len(c.list[c.head].buf) {
		c.leave(pool)
	}
	first := &c.list[c.head]
	return first.buf[first.r:first.w]
}

// taken drops the first n bytes, all within what next returned.
func (c *chunks) taken(n int, pool *bufferList) {
	if c.dropped {
		return
	}
	c.bytes -= n
	first := &c.list[c.head]
	first.r += n
	switch {
	case c.filling && c.head == len(c.list)-1:
		// More comes behind what was read.
	case first.r == len(first.buf) || c.bytes == 0 && len(first.buf) > keepChunk:
		c.leave(pool)
	case c.bytes == 0:
		first.r, first.w = 0, 0 // for the next small packets
	}
}

// leave gives the first piece back.
func (c *chunks) leave(pool *bufferList) {
	c.list[c.head].leave(pool)
	c.list[c.head] = chunk{}
	c.head++
	if c.head == len(c.list) {
		c.list, c.head = c.list[:0], 0
	}
}

// steal takes the first piece out, unless the receiver writes to it.
func (c *chunks) steal() (first chunk, ok bool) {
	if c.bytes == 0 || c.filling && c.head == len(c.list)-1 {
		return chunk{}, false
	}
	first = c.list[c.head]
	c.bytes -= first.w - first.r
	c.list[c.head] = chunk{}
	c.head++
	if c.head == len(c.list) {
		c.list, c.head = c.list[:0], 0
	}
	return first, true
}

// drop forgets all there is, and whatever is still filled or taken.
func (c *chunks) drop() { *c = chunks{dropped: true} }
