package peer

import (
	"context"
	"os"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Names of packetstream's modes.
const (
	Default     = "packetstream"      // any handler, Do
	NonBlocking = "packetstream-nb"   // a handler that says it does not block, Do
	AnyInto     = "packetstream-into" // any handler, DoInto the caller's buffer
	Into        = "packetstream-nbi"  // both
)

// packetstreams are the modes of packetstream. Both ends are made as its users make them: the answering one is
// endpoint.Stdio, the calling one the same as what endpoint.Start gives its child's pipes to.
func packetstreams() []*Peer {
	return []*Peer{
		packetstreamPeer(Default, echo, false),
		packetstreamPeer(AnyInto, echo, true),
		packetstreamPeer(NonBlocking, pconn.NonBlocking(echo), false),
		packetstreamPeer(Into, pconn.NonBlocking(echo), true),
	}
}

// echoType is the request type by which the reference's test service answers the payload.
const echoType = 2

var echo = pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	return pconn.Bytes(req.Payload), nil
})

func packetstreamPeer(name string, handler pconn.Handler, into bool) *Peer {
	return &Peer{
		Name: name, Kind: Ours, Symmetric: true,
		Open: func(_ Side, r, w *os.File, _ Cell) (Conn, error) {
			c, err := pconn.New(bufio.OwnInput(r), bufio.OwnOutput(w), &pconn.Options{Handler: handler, CloseInput: true})
			return &packets{c, into}, err
		},
		OpenStdio: func(Cell) (Conn, error) {
			c, err := endpoint.Stdio{}.Dial(context.Background(), &pconn.Options{Handler: handler})
			if err != nil {
				return nil, err
			}
			return &packets{c.Conn, into}, nil
		},
	}
}

type packets struct {
	conn *pconn.Conn
	into bool
}

func (p *packets) Call(ctx context.Context, payload, buf []byte) ([]byte, error) {
	if p.into {
		return p.callInto(ctx, payload, buf)
	}
	resp, err := p.conn.Do(ctx, pconn.Request{Type: echoType, Payload: payload})
	return resp.Payload, err
}

func (p *packets) callInto(ctx context.Context, payload, buf []byte) ([]byte, error) {
	resp, err := p.conn.DoInto(ctx, buf, pconn.Request{Type: echoType, Payload: payload})
	return resp.Payload, err
}

func (p *packets) Close() error { return p.conn.Close() }

// Wait waits for the end of the connection.
func (p *packets) Wait() error { return p.conn.Wait() }
