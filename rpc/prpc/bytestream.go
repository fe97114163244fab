package prpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// byteStream carries messages over a byte stream, each behind its length: four
// bytes, most significant first. An empty message cannot be a message of the protocol, so
// the length 0 says that the sender closes; a close code of two bytes follows.
type byteStream struct {
	rwc     io.ReadWriteCloser
	in      *bufio.Reader
	limit   int
	ended   chan struct{} // closed when Receive returned an error
	endOnce sync.Once
	closing sync.Once
	writing chan struct{} // holds a token while nobody writes
}

// NewByteStream makes a carrier of a byte stream: a net.Conn, or the joined pipes
// of a subprocess. It owns rwc and closes it. limit is the largest message taken, in
// bytes; 0 means the default of Limits.MessageBytes.
//
// Closing rwc must make its Read and Write return.
func NewByteStream(rwc io.ReadWriteCloser, limit int) Carrier {
	if limit <= 0 {
		limits, _ := Limits{}.withDefaults()
		limit = limits.MessageBytes
	}
	c := &byteStream{
		rwc: rwc, in: bufio.NewReader(rwc), limit: limit,
		ended: make(chan struct{}), writing: make(chan struct{}, 1),
	}
	c.writing <- struct{}{}
	return c
}

func (c *byteStream) Receive() ([]byte, error) {
	message, err := c.receive()
	if err != nil {
		c.endOnce.Do(func() { close(c.ended) })
	}
	return message, err
}

func (c *byteStream) receive() ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[:])
	if n == 0 {
		if _, err := io.ReadFull(c.in, header[:2]); err != nil {
			return nil, noEOF(err)
		}
		return nil, &CloseError{Code: CloseCode(binary.BigEndian.Uint16(header[:2]))}
	}
	if uint64(n) > uint64(c.limit) {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, n, c.limit)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(c.in, message); err != nil {
		return nil, noEOF(err)
	}
	return message, nil
}

// more implements buffering.
func (c *byteStream) more() bool {
	n := c.in.Buffered()
	if n < 4 {
		return false
	}
	header, _ := c.in.Peek(4) // it is buffered
	return uint64(binary.BigEndian.Uint32(header)) <= uint64(n-4)
}

// polled implements buffering.
func (c *byteStream) polled() bool {
	switch c.rwc.(type) {
	case *net.TCPConn, *net.UnixConn, *os.File:
		return true
	}
	return false
}

// noEOF makes an end within a message an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *byteStream) Send(messages [][]byte) error {
	<-c.writing
	defer func() { c.writing <- struct{}{} }()
	headers := make([]byte, 0, 4*len(messages))
	buffers := make(net.Buffers, 0, 2*len(messages))
	size := 0
	for _, message := range messages {
		headers = binary.BigEndian.AppendUint32(headers, uint32(len(message)))
		buffers = append(buffers, headers[len(headers)-4:], message)
		size += 4 + len(message)
	}
	if size > keptBuffer {
		_, err := buffers.WriteTo(c.rwc)
		return err
	}
	joined := make([]byte, 0, size)
	for _, part := range buffers {
		joined = append(joined, part...)
	}
	_, err := c.rwc.Write(joined)
	return err
}

// Close writes the code, unless a write is stuck, and waits a bounded time for the
// peer to close too, so that the code is not lost with the connection.
func (c *byteStream) Close(code CloseCode) error {
	var err error
	c.closing.Do(func() {
		timer := time.AfterFunc(closeTimeout, func() { _ = c.rwc.Close() })
		defer timer.Stop()
		select {
		case <-c.writing:
			defer func() { c.writing <- struct{}{} }() // a Send that comes late fails
			frame := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, uint16(code))
			if _, werr := c.rwc.Write(frame); werr == nil && code == CloseNormal {
				c.awaitPeer()
			}
		default:
		}
		err = c.rwc.Close()
	})
	return err
}

// awaitPeer waits until Receive saw the peer's close.
func (c *byteStream) awaitPeer() {
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
	}
}
