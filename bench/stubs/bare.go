package stubs

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/packetstream/packetstream/bench/load"
)

// The bare wire is the bound: messages with their length before them go back and forth through the runtime's poller, with one write for
// each, and nothing else. It has no calls at once.

// usageLength is a length that asks for the usage.
const usageLength = 1<<32 - 1

func serveBare(w *wire) (func() error, error) {
	conn := w.conn()
	var served sync.WaitGroup
	served.Go(func() { // ends with the wire
		r := bufio.NewReader(conn)
		for {
			m, err := readBare(r)
			if err == errUsage {
				var usage load.Usage
				if usage, err = load.ReadUsage(); err == nil {
					m, err = json.Marshal(usage)
				}
			}
			if err == nil {
				_, err = conn.Write(appendBare(nil, m))
			}
			if err != nil {
				return
			}
		}
	})
	return func() error {
		err := conn.Close()
		served.Wait()
		return err
	}, nil
}

var errUsage = errors.New("the usage is asked for")

func readBare(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == usageLength {
		return nil, errUsage
	}
	m := make([]byte, size)
	_, err := io.ReadFull(r, m)
	return m, err
}

func appendBare(b, m []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(m))), m...)
}

func dialBare(w *wire) (client, error) {
	conn := w.conn()
	return &bareClient{conn: conn, r: bufio.NewReader(conn), turn: make(chan struct{}, 1)}, nil
}

// bareClient is its own stream. One answer is awaited at a time.
type bareClient struct {
	conn io.ReadWriteCloser
	r    *bufio.Reader
	out  []byte
	turn chan struct{}
}

func (c *bareClient) Close() error { return c.conn.Close() }

func (c *bareClient) call(_ context.Context, method string, payload []byte) ([]byte, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if method == methodUsage {
		if _, err := c.conn.Write(binary.BigEndian.AppendUint32(nil, usageLength)); err != nil {
			return nil, err
		}
		return readBare(c.r)
	}
	if err := c.write(payload); err != nil {
		return nil, err
	}
	return readBare(c.r)
}

func (c *bareClient) write(payload []byte) error {
	c.out = appendBare(c.out[:0], payload)
	_, err := c.conn.Write(c.out)
	return err
}

func (c *bareClient) stream(context.Context) (stream, error) { return bareStream{c}, nil }

// bareStream has the turn from send to recv, so that a question for the usage does not come between.
type bareStream struct{ *bareClient }

func (s bareStream) send(payload []byte) error {
	s.turn <- struct{}{}
	return s.write(payload)
}

func (s bareStream) recv() ([]byte, error) {
	select {
	case s.turn <- struct{}{}: // after closeSend nothing comes
		<-s.turn
		return nil, io.EOF
	default:
	}
	defer func() { <-s.turn }()
	return readBare(s.r)
}

func (bareStream) closeSend() error { return nil }
