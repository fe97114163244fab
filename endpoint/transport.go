package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/packetstream/packetstream/bufio"
)

// Transport is the bytes of a connection to an endpoint, both ways, with no packets made of them. One goroutine at a
// time may read, one write; CloseWrite and Close may be called from any. Close ends what is blocked.
type Transport interface {
	io.ReadWriteCloser
	// CloseWrite ends the direction that is written. The other goes on. It ends a Write that is blocked, or, with
	// TLS, waits for it.
	CloseWrite() error
}

// Opener is an endpoint whose bytes can be had, as Dial's connection would have them. All of this package are.
type Opener interface {
	Endpoint
	// Open connects. ctx limits that. The Transport has to be closed.
	Open(ctx context.Context) (Transport, error)
}

// transportOf is a socket as a Transport.
func transportOf(nc net.Conn, err error) (Transport, error) {
	if err != nil {
		return nil, err
	}
	t, ok := nc.(Transport)
	if !ok {
		_ = nc.Close()
		return nil, fmt.Errorf("endpoint: %T: the end of one direction: %w", nc, errors.ErrUnsupported)
	}
	return t, nil
}

// descriptors are a Transport of descriptors.
type descriptors struct {
	in  *bufio.Input
	out *bufio.Output

	writing sync.Mutex // guards what is written
	rest    []byte
}

func (d *descriptors) Read(p []byte) (int, error) { return d.in.Read(p) }

func (d *descriptors) Write(p []byte) (int, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.rest = p
	err := d.out.Write(d, true)
	n := len(p) - len(d.rest)
	d.rest = nil
	return n, err
}

// Next gives what is to be written: see bufio.Source.
func (d *descriptors) Next(bufs [][]byte) [][]byte { return append(bufs, d.rest) }

// Wrote takes away what was written.
func (d *descriptors) Wrote(n int) { d.rest = d.rest[n:] }

func (d *descriptors) CloseWrite() error { return d.out.Close() }

func (d *descriptors) Close() error { return errors.Join(d.in.Close(), d.out.Close()) }
