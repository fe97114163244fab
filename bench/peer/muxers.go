package peer

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
	goyamux "github.com/libp2p/go-yamux/v5"
	"github.com/xtaci/smux"
)

// muxers are stream multiplexers. A call is a stream of its own: the payload is written to it, with its
// length before it in the same write, and comes back in the same form. One of them is measured with one stream for
// all calls as well, one at a time. Their windows and backlogs are large enough that no call waits for them.
func muxers() []*Peer {
	one := muxPeer("yamux-1", "github.com/hashicorp/yamux", openYamux)
	open := one.Open
	one.Symmetric = false
	one.Open = func(side Side, r, w *os.File, cell Cell) (Conn, error) {
		c, err := open(side, r, w, cell)
		if m, ok := c.(*muxConn); ok && side == Caller {
			m.single = true
		}
		return c, err
	}
	one.Unfit = func(c Cell) string {
		if c.InFlight > max(1, c.Conns) {
			return "one stream"
		}
		return ""
	}
	return []*Peer{
		muxPeer("yamux", "github.com/hashicorp/yamux", openYamux),
		one,
		muxPeer("go-yamux", "github.com/libp2p/go-yamux/v5", openGoYamux),
		muxPeer("smux", "github.com/xtaci/smux", openSmux),
	}
}

// muxWindow is how much a stream may have on its way.
const muxWindow = 16 << 20

// muxBacklog is how many streams may wait to be accepted.
const muxBacklog = 8192

func openYamux(side Side, f *files) (session, error) {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive, c.AcceptBacklog, c.MaxStreamWindowSize, c.LogOutput = false, muxBacklog, muxWindow, io.Discard
	if side == Caller {
		s, err := yamux.Client(f, c)
		return yamuxSession{s}, err
	}
	s, err := yamux.Server(f, c)
	return yamuxSession{s}, err
}

type yamuxSession struct{ *yamux.Session }

func (s yamuxSession) open(context.Context) (net.Conn, error) { return s.OpenStream() }
func (s yamuxSession) accept() (net.Conn, error)              { return s.AcceptStream() }

func openGoYamux(side Side, f *files) (session, error) {
	c := goyamux.DefaultConfig()
	c.EnableKeepAlive, c.AcceptBacklog, c.MaxIncomingStreams, c.LogOutput = false, muxBacklog, muxBacklog, io.Discard
	c.MaxStreamWindowSize, c.InitialStreamWindowSize = muxWindow, muxWindow
	c.ReadBufSize, c.WriteCoalesceDelay, c.MeasureRTTInterval = batchBytes, 0, time.Hour
	// 64 MiB behind one writer may take longer than the 10 s after which it gives up.
	c.ConnectionWriteTimeout = time.Minute
	if side == Caller {
		s, err := goyamux.Client(f, c, nil)
		return goYamuxSession{s}, err
	}
	s, err := goyamux.Server(f, c, nil)
	return goYamuxSession{s}, err
}

type goYamuxSession struct{ *goyamux.Session }

func (s goYamuxSession) open(ctx context.Context) (net.Conn, error) { return s.OpenStream(ctx) }
func (s goYamuxSession) accept() (net.Conn, error)                  { return s.AcceptStream() }

func openSmux(side Side, f *files) (session, error) {
	c := smux.DefaultConfig()
	c.Version, c.KeepAliveDisabled, c.MaxFrameSize = 2, true, 65535
	c.MaxReceiveBuffer, c.MaxStreamBuffer = 256<<20, muxWindow
	if side == Caller {
		s, err := smux.Client(f, c)
		return smuxSession{s}, err
	}
	s, err := smux.Server(f, c)
	return smuxSession{s}, err
}

type smuxSession struct{ *smux.Session }

func (s smuxSession) open(context.Context) (net.Conn, error) { return s.OpenStream() }
func (s smuxSession) accept() (net.Conn, error)              { return s.AcceptStream() }

// session is what the multiplexers have in common.
type session interface {
	open(ctx context.Context) (net.Conn, error)
	accept() (net.Conn, error)
	Close() error
}

func muxPeer(name, module string, open func(Side, *files) (session, error)) *Peer {
	return &Peer{Name: name, Kind: Rival, Module: module, Symmetric: true, Fills: true, Open: func(side Side, r, w *os.File, _ Cell) (Conn, error) {
		s, err := open(side, &files{r: r, w: w})
		if err != nil {
			return nil, err
		}
		go serveStreams(s) // ends with the session
		return &muxConn{session: s}, nil
	}}
}

func serveStreams(s session) {
	for {
		stream, err := s.accept()
		if err != nil {
			return
		}
		go echoFrames(stream) // ends with the stream
	}
}

// echoFrames answers the frames of a stream.
func echoFrames(stream net.Conn) {
	defer stream.Close()
	b := frames.Get().(*[]byte)
	defer frames.Put(b)
	for {
		frame, err := readFrame(stream, *b)
		if err != nil {
			return
		}
		*b = frame
		if _, err := stream.Write(frame); err != nil {
			return
		}
	}
}

// frames keeps the memory of frames.
var frames = sync.Pool{New: func() any { return new([]byte) }}

type muxConn struct {
	session session
	single  bool
	mu      sync.Mutex // guards stream, and a call on it
	stream  net.Conn
}

func (c *muxConn) Call(ctx context.Context, payload, buf []byte) ([]byte, error) {
	if c.single {
		return c.callSingle(ctx, payload, buf)
	}
	stream, err := c.session.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return exchange(stream, payload, buf)
}

// callSingle makes the calls on one stream.
func (c *muxConn) callSingle(ctx context.Context, payload, buf []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil {
		stream, err := c.session.open(ctx)
		if err != nil {
			return nil, err
		}
		c.stream = stream
	}
	return exchange(c.stream, payload, buf)
}

// exchange writes a frame and reads the answer. buf has room for a frame.
func exchange(stream net.Conn, payload, buf []byte) ([]byte, error) {
	b := frames.Get().(*[]byte)
	defer frames.Put(b)
	*b = appendFrame((*b)[:0], payload)
	if _, err := stream.Write(*b); err != nil {
		return nil, err
	}
	frame, err := readFrame(stream, buf)
	if err != nil {
		return nil, err
	}
	return frame[frameHeader:], nil
}

func (c *muxConn) Close() error { return c.session.Close() }
