package peer

import (
	"context"
	"io"
	"net"
	"os"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// Streams is a system that has streams, for what is measured of those.
type Streams struct {
	Name string
	// Open opens one end over what is read from and written to.
	Open func(side Side, r, w *os.File) (StreamSession, error)
}

// StreamSession is one end of a connection that carries streams.
type StreamSession interface {
	Open(ctx context.Context) (net.Conn, error)
	Accept() (net.Conn, error)
	Close() error
}

// BarePipe is the name of the plain copy through a pipe that streams are compared with.
const BarePipe = "bare pipe"

// AllStreams returns every system that has streams, ours first.
func AllStreams() []Streams {
	return []Streams{
		{Default, openPacketStreams},
		muxStreams("yamux", openYamux),
		muxStreams("go-yamux", openGoYamux),
		muxStreams("smux", openSmux),
	}
}

func muxStreams(name string, open func(Side, *files) (session, error)) Streams {
	return Streams{name, func(side Side, r, w *os.File) (StreamSession, error) {
		s, err := open(side, &files{r: r, w: w})
		return muxSession{s}, err
	}}
}

type muxSession struct{ session }

func (s muxSession) Open(ctx context.Context) (net.Conn, error) { return s.open(ctx) }
func (s muxSession) Accept() (net.Conn, error)                  { return s.accept() }

func openPacketStreams(_ Side, r, w *os.File) (StreamSession, error) {
	c, err := pconn.New(bufio.OwnInput(r), bufio.OwnOutput(w), &pconn.Options{CloseInput: true, Listen: []string{""}})
	if err != nil {
		return nil, err
	}
	l, err := c.Listen("")
	return packetSession{c, l}, err
}

type packetSession struct {
	conn     *pconn.Conn
	listener *pconn.Listener
}

func (s packetSession) Open(ctx context.Context) (net.Conn, error) {
	return s.conn.OpenStream(ctx, "", nil)
}
func (s packetSession) Accept() (net.Conn, error) { return s.listener.Accept() }
func (s packetSession) Close() error              { return s.conn.Close() }

// What a stream's first byte asks for.
const (
	StreamEcho = 'e' // what follows comes back
	StreamSink = 's' // the length of what follows, in 8 octets; a byte comes back when all is read
)

// StreamBlock is the size of the blocks of bulk, in bytes.
const StreamBlock = 64 << 10

// ServeStreams does what each stream's first byte asks for, until the session ends.
func ServeStreams(s StreamSession) error {
	for {
		c, err := s.Accept()
		if err != nil {
			return err
		}
		go serveStream(c) // ends with the stream
	}
}

func serveStream(c net.Conn) {
	defer c.Close()
	var head [9]byte
	if _, err := io.ReadFull(c, head[:1]); err != nil {
		return
	}
	if head[0] == StreamEcho {
		echoBytes(c)
		return
	}
	if _, err := io.ReadFull(c, head[1:]); err != nil {
		return
	}
	if err := Sink(c, head[1:]); err == nil {
		_, _ = c.Write(head[:1])
	}
}

func echoBytes(c net.Conn) {
	var b [64]byte
	for {
		n, err := c.Read(b[:])
		if n > 0 {
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Sink reads as many bytes as length says, in blocks.
func Sink(r io.Reader, length []byte) error {
	left := uint64(0)
	for _, b := range length {
		left = left<<8 | uint64(b)
	}
	buf := make([]byte, StreamBlock)
	for left > 0 {
		n, err := r.Read(buf[:min(left, StreamBlock)])
		left -= uint64(n)
		if err != nil {
			return err
		}
	}
	return nil
}
