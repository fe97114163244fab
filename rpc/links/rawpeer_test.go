package links

import (
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawPeer speaks frames by hand to a connection of side 0.
type rawPeer struct {
	t       *testing.T
	stream  io.ReadWriteCloser
	carrier *stream
	decode  decoder
	conn    *Conn
	end     *End
	serve   ServicerFunc
}

func newRawPeer(t *testing.T, opts *ConnOptions, endOpts *EndOptions) *rawPeer {
	t.Helper()
	ours, theirs := osPipes(t)
	p := &rawPeer{t: t, stream: theirs, carrier: StreamCarrier(theirs).(*stream), decode: decoder{maxMetadata: hardMaxMetadata}}
	p.conn = openConn(t, StreamCarrier(ours), opts)
	p.end = NewEnd(ServicerFunc(func(ctx context.Context, op *Operation) error {
		if p.serve == nil {
			return nil
		}
		return p.serve(ctx, op)
	}), endOpts)
	require.NoError(t, p.end.Start())
	t.Cleanup(func() {
		theirs.Close()
		<-p.end.Stop(0)
	})
	return p
}

func (p *rawPeer) join() { Join(p.end, p.conn) }

// greet exchanges HELLO.
func (p *rawPeer) greet(s settings) {
	p.t.Helper()
	p.join()
	p.send(appendHello(nil, 1, s))
	f := p.next()
	require.Equal(p.t, frameHello, f.kind)
	require.Equal(p.t, 0, f.side)
}

func (p *rawPeer) send(frames ...[]byte) {
	p.t.Helper()
	for _, frame := range frames {
		_, err := p.stream.Write(append(binary.AppendUvarint(nil, uint64(len(frame))), frame...))
		require.NoError(p.t, err)
	}
}

func (p *rawPeer) next() frame {
	p.t.Helper()
	b, err := p.carrier.ReadFrame()
	require.NoError(p.t, err)
	var f frame
	require.NoError(p.t, p.decode.decode(append([]byte(nil), b...), &f))
	return f
}

// nextOf waits for a frame of a kind.
func (p *rawPeer) nextOf(kind byte) frame {
	p.t.Helper()
	for {
		if f := p.next(); f.kind == kind {
			return f
		}
	}
}

func begin(id uint64, t Ticket, piece []byte) []byte {
	t.Group, t.Method, t.Subscription = "g", "m", SubscriptionFull
	return appendTicket(nil, id, 0, true, 0, &t, piece)
}

// ended waits for the end of the connection and returns its error.
func (p *rawPeer) ended() error {
	p.t.Helper()
	select {
	case <-p.conn.Done():
		return p.conn.Err()
	case <-time.After(10 * time.Second):
		p.t.Fatal("the connection did not end")
		return nil
	}
}

// alive proves that the connection goes on.
func (p *rawPeer) alive() {
	p.t.Helper()
	p.send(appendPing(nil, framePing, [8]byte{7}))
	require.Equal(p.t, [8]byte{7}, p.nextOf(framePong).token)
}
