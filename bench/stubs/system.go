package stubs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/peer"
)

// System is a way to make calls.
type System struct {
	Name   string
	Socket bool // over a Unix socket, not a pair of pipes
	// serve answers on a wire until what it returns is called.
	serve func(*wire) (stop func() error, err error)
	dial  func(*wire) (client, error)
	// bare says that the system has no calls at once and no stream whose sender does not wait.
	bare bool
}

// Fits says whether the system can be measured in a cell.
func (s System) Fits(c Cell) bool { return !s.bare || c.Calls <= 1 && !c.Flood }

// client makes calls whose messages are BytesValues. It may be used concurrently.
type client interface {
	// call calls a method that takes and answers one message.
	call(ctx context.Context, method string, payload []byte) ([]byte, error)
	// stream begins a stream that answers each message with the same.
	stream(ctx context.Context) (stream, error)
	Close() error
}

// stream is used by one sender and one receiver.
type stream interface {
	send(payload []byte) error
	recv() ([]byte, error)
	closeSend() error
}

// Ours is the system that the goals are about, and the others are those it is compared with.
const (
	Ours     = "grpclinks, pipes"
	GRPCPipe = "grpc-go, pipes"
	GRPCSock = "grpc-go, socket"
)

// All returns the systems.
func All() []System {
	return []System{
		{Name: "bare wire, pipes", serve: serveBare, dial: dialBare, bare: true},
		{Name: Ours, serve: serveLinks, dial: dialLinks},
		{Name: "grpclinks, socket", Socket: true, serve: serveLinks, dial: dialLinks},
		{Name: GRPCPipe, serve: serveGRPC, dial: dialGRPC},
		{Name: GRPCSock, Socket: true, serve: serveGRPC, dial: dialGRPC},
		{Name: "ttrpc, pipes", serve: serveTTRPC, dial: dialTTRPC},
		{Name: "ttrpc, socket", Socket: true, serve: serveTTRPC, dial: dialTTRPC},
	}
}

// Find returns the systems of the given names, in their order, and all for none.
func Find(names ...string) ([]System, error) {
	all := All()
	if len(names) == 0 {
		return all, nil
	}
	var found []System
	for _, name := range names {
		i := slices.IndexFunc(all, func(s System) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no system is called %q", name)
		}
		found = append(found, all[i])
	}
	return found, nil
}

// wire is one end of a connection: a socket, or the ends of two pipes. Whoever serves or dials on it closes it.
type wire struct {
	socket net.Conn
	r, w   *os.File
}

// conn is the wire as a net.Conn.
func (w *wire) conn() net.Conn {
	if w.socket != nil {
		return w.socket
	}
	return peer.Files(w.r, w.w)
}

// bytes is the wire as a byte stream whose descriptors can be found.
func (w *wire) bytes() io.ReadWriteCloser {
	if w.socket != nil {
		return w.socket
	}
	return duplex(w.r, w.w)
}

// files are the descriptors of one end of a wire: its input and its output, which are one for a socket.
type files [2]*os.File

func (f files) Close() error {
	if f[0] == f[1] {
		return f[0].Close()
	}
	return errors.Join(f[0].Close(), f[1].Close())
}

// newFiles returns the two ends of a wire.
func newFiles(socket bool) (near, far files, err error) {
	if !socket {
		var errs [2]error
		near[0], far[1], errs[0] = os.Pipe()
		far[0], near[1], errs[1] = os.Pipe()
		return near, far, errors.Join(errs[:]...)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return near, far, err
	}
	a, b := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	return files{a, a}, files{b, b}, nil
}

// open makes a wire of its descriptors, which it takes over.
func (f files) open(socket bool) (*wire, error) {
	if !socket {
		return &wire{r: f[0], w: f[1]}, nil
	}
	conn, err := net.FileConn(f[0])
	return &wire{socket: conn}, errors.Join(err, f.Close())
}
