package prpc_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/require"
)

// pipe is one end of a carrier in memory.
type pipe struct {
	in, out chan []byte
	closed  chan struct{} // this end
	peer    *pipe
	once    sync.Once
	code    prpc.CloseCode
	// err is returned by Receive once in place of a message, if it is set.
	err chan error
}

func newPipe() (*pipe, *pipe) {
	ab, ba := make(chan []byte, 64), make(chan []byte, 64)
	a := &pipe{in: ba, out: ab, closed: make(chan struct{}), err: make(chan error, 1)}
	b := &pipe{in: ab, out: ba, closed: make(chan struct{}), err: make(chan error, 1)}
	a.peer, b.peer = b, a
	return a, b
}

func (p *pipe) Receive() ([]byte, error) {
	select {
	case m := <-p.in:
		return m, nil
	default:
	}
	select {
	case m := <-p.in:
		return m, nil
	case err := <-p.err:
		return nil, err
	case <-p.closed:
		return nil, io.ErrClosedPipe
	case <-p.peer.closed:
		select {
		case m := <-p.in:
			return m, nil
		default:
		}
		if p.peer.code == 0 {
			return nil, io.EOF
		}
		return nil, &prpc.CloseError{Code: p.peer.code}
	}
}

func (p *pipe) Send(messages [][]byte) error {
	for _, m := range messages {
		select {
		case p.out <- bytes.Clone(m):
		case <-p.closed:
			return io.ErrClosedPipe
		case <-p.peer.closed:
			return io.ErrClosedPipe
		}
	}
	return nil
}

func (p *pipe) Close(code prpc.CloseCode) error {
	p.once.Do(func() {
		p.code = code
		close(p.closed)
	})
	return nil
}

// drop ends the carrier as a network does: without a code.
func (p *pipe) drop() { _ = p.Close(0) }

// connect makes a client and a server of a pipe.
func connect(t testing.TB, client, server *prpc.Options) (*prpc.Conn, *prpc.Conn) {
	t.Helper()
	a, b := newPipe()
	return join(t, a, b, client, server)
}

func join(t testing.TB, a, b prpc.Carrier, client, server *prpc.Options) (*prpc.Conn, *prpc.Conn) {
	t.Helper()
	type result struct {
		conn *prpc.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		conn, err := prpc.Accept(context.Background(), b, server)
		accepted <- result{conn, err}
	}()
	c, err := prpc.Connect(context.Background(), a, client)
	require.NoError(t, err)
	s := <-accepted
	require.NoError(t, s.err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.conn.Close()
		c.Wait()
		s.conn.Wait()
	})
	return c, s.conn
}
