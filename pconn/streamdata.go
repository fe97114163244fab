package pconn

import (
	"errors"
	"io"
	"runtime"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// receiveData takes the data of a frame, whose header was received.
func (c *Conn) receiveData(h *packet.Header) error {
	if h.Size == 0 {
		return violation("DATA without data for stream %s", streamName(h))
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamData)
	if err == nil && s != nil {
		err = s.checkWindow(h)
	}
	if act == actTake && err == nil {
		c.countAlone(s, false, h.Size)
	}
	if err != nil || act == actDrop {
		c.deliver()
		c.mu.Unlock()
		if err == nil {
			err = c.skipPayload(h)
		}
		return err
	}
	if h.Size <= copyUnlocked && h.Size <= int64(c.in.Buffered()) {
		err := s.takeBuffered(int(h.Size))
		c.deliverInTime()
		c.mu.Unlock()
		return err
	}
	c.mu.Unlock()
	f := unfinished{stream: s, header: *h, left: h.Size}
	err = s.receiveBulk(&f)
	if f.start > 0 {
		c.rest = f // it is another frame, behind h
	}
	return err
}

// checkWindow counts the data of a frame. Conn.mu is held.
func (s *Stream) checkWindow(h *packet.Header) error {
	if w := &s.in.window; !w.received(h.Size) {
		return violation("DATA of %d bytes for stream %s, which may send %d of its window of %d", h.Size, streamName(h), w.left, w.size)
	}
	return nil
}

// takeBuffered takes data that is in the input's buffer already. Conn.mu is held.
func (s *Stream) takeBuffered(n int) error {
	c, in := s.conn, &s.in
	if p := in.rest(); in.buf.bytes == 0 && n <= len(p) {
		err := c.in.ReadFull(p[:n])
		in.got += n
		s.handOver()
		return err
	}
	for n > 0 {
		p := in.buf.room(n, &c.st.buffers)
		if err := c.in.ReadFull(p); err != nil {
			return err
		}
		in.buf.filled(len(p))
		n -= len(p)
	}
	s.wakeRead()
	s.spillMore()
	return nil
}

// receiveBulk takes data as it comes, what is left of a frame: into the memory of a Read that waits, or else into the
// stream's own. With it may come a part of the next frame: then it takes all of that too.
func (s *Stream) receiveBulk(f *unfinished) error {
	c, in := s.conn, &s.in
	for f.left > 0 {
		c.mu.Lock()
		if s.state.in != inOpen {
			c.deliver()
			c.mu.Unlock()
			return c.skipPayload(&packet.Header{Size: f.left})
		}
		var err error
		from := c.in.Offset()
		if len(in.rest()) > 0 && in.buf.bytes == 0 {
			err = s.readInto(f)
		} else {
			err = s.readBuffer(f)
			s.spillMore()
		}
		letRun := s.giveIfDone(from, f.left == 0)
		c.mu.Unlock()
		if letRun {
			runtime.Gosched()
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return c.payloadError(&f.header, err)
		}
	}
	return nil
}

// readInto reads into what is left of the memory of the Read that waits. Conn.mu is held, but not while it reads.
func (s *Stream) readInto(f *unfinished) error {
	c, in := s.conn, &s.in
	p := in.rest()
	in.lent = true
	c.mu.Unlock()
	n, _, err := s.readAcross(p, f)
	c.mu.Lock()
	in.lent = false
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	in.got += n
	if !errors.Is(err, bufio.ErrWouldBlock) {
		return err
	}
	// The readers have what there is while more is waited for.
	c.deliver()
	s.handOver()
	c.mu.Unlock()
	_, err = c.in.Peek(1)
	c.mu.Lock()
	return err
}

// readBuffer reads into memory of the stream's own. Conn.mu is held, but not while it reads.
func (s *Stream) readBuffer(f *unfinished) error {
	c, in := s.conn, &s.in
	p := in.buf.room(int(min(f.left, maxChunk)), &c.st.buffers)
	c.mu.Unlock()
	n, err := c.in.TryRead(p)
	if errors.Is(err, bufio.ErrWouldBlock) {
		c.mu.Lock()
		c.deliver()
		s.handOver()
		c.mu.Unlock()
		n, err = c.in.Read(p)
	}
	c.mu.Lock()
	in.buf.filled(n)
	f.left -= int64(n)
	return err
}

// rest is what is left of the memory of a Read that waits.
func (in *streamIn) rest() []byte { return in.into[min(in.got, len(in.into)):] }
