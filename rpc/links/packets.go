package links

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/packetstream/packetstream/pconn"
)

// PacketChannel is the channel that programs use for tickets where nothing else is agreed.
const PacketChannel = 11

// Packets is a [Carrier] over a channel of a packet connection, which carries requests of other channels at the same time: each frame is
// the payload of one request. It is the handler of that channel too, so that it can be there before the connection is:
//
//	packets := links.NewPackets(links.PacketChannel)
//	opts := &pconn.Options{Channels: map[uint64]pconn.Handler{links.PacketChannel: packets}}
//
// The end that has the connection in hand calls Bind; the other one learns it from the first frame. Requests may be handled out of order,
// so the [Conn] is made with Unordered, at both ends. Closing the carrier does not close the connection: the peer is told by a request
// without payload. It keeps the payloads it is given, so it must not be marked pconn.NonBlocking.
type Packets struct {
	channel uint64
	bound   chan struct{} // closed when conn is known
	closed  chan struct{}
	ctx     context.Context // of what is being sent, ended by Close
	cancel  context.CancelFunc
	greeted bool // the writer's: the peer has accepted a frame

	mu      sync.Mutex // guards what follows
	conn    *pconn.Conn
	frames  [][]byte
	size    int
	fault   error
	arrived chan struct{} // has a value when there is something to read
}

// NewPackets makes a carrier over the channel of that number, at both ends the same.
func NewPackets(channel uint64) *Packets {
	p := &Packets{channel: channel, bound: make(chan struct{}), closed: make(chan struct{}), arrived: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Bind sets the connection. Later calls do nothing.
func (p *Packets) Bind(conn *pconn.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		p.conn = conn
		close(p.bound)
	}
}

// ServePacket takes a frame from the peer; it is for the connection to call. It does not wait.
func (p *Packets) ServePacket(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	p.Bind(req.Conn)
	p.mu.Lock()
	p.size += len(req.Payload)
	switch {
	case p.fault != nil:
	case len(req.Payload) == 0:
		p.fault = io.EOF
	case p.size > maxQueuedPackets:
		p.fault = &ProtocolError{Detail: "the peer sends more than any window allows"}
	default:
		p.frames = append(p.frames, req.Payload)
	}
	p.mu.Unlock()
	wake(p.arrived)
	return pconn.Reply{}, nil
}

// ReadFrame returns the next frame, in the order in which they were handled.
func (p *Packets) ReadFrame() ([]byte, error) {
	select {
	case <-p.bound:
	case <-p.closed:
		return nil, io.EOF
	}
	for {
		p.mu.Lock()
		if len(p.frames) > 0 {
			frame := p.frames[0]
			p.frames = p.frames[1:]
			p.size -= len(frame)
			p.mu.Unlock()
			return frame, nil
		}
		fault := p.fault
		p.mu.Unlock()
		if fault != nil {
			return nil, fault
		}
		select {
		case <-p.arrived:
		case <-p.closed:
			return nil, io.EOF
		case <-p.conn.Done():
			return nil, p.connErr()
		}
	}
}

func (p *Packets) connErr() error {
	if err := p.conn.Err(); err != nil {
		return err
	}
	return io.EOF
}

// WriteFrames sends each frame as a request. The first one waits for its answer, because a peer without the channel rejects it.
func (p *Packets) WriteFrames(batch []byte) error {
	select {
	case <-p.bound:
	case <-p.closed:
		return io.ErrClosedPipe
	}
	for len(batch) > 0 {
		var frame []byte
		frame, batch = NextFrame(batch)
		if err := p.send(frame); err != nil {
			return fmt.Errorf("links: channel %d: %w", p.channel, err)
		}
	}
	return nil
}

func (p *Packets) send(frame []byte) error {
	req := pconn.Request{Channel: p.channel, Payload: frame}
	if p.greeted {
		return p.conn.Notify(p.ctx, req)
	}
	_, err := p.conn.Do(p.ctx, req)
	p.greeted = err == nil
	return err
}

// Close tells the peer, and wakes who reads or writes. The connection stays open.
func (p *Packets) Close() error {
	close(p.closed)
	p.cancel()
	select {
	case <-p.bound:
		ctx, cancel := context.WithTimeout(context.Background(), DefaultFlushTime)
		defer cancel()
		// Without room, or without a connection, the peer learns it from the connection's end.
		_ = p.conn.Notify(ctx, pconn.Request{Channel: p.channel})
	default:
	}
	return nil
}
