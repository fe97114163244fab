package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/pconn"
)

// Activation is a socket that a service manager has opened before it started this process, as systemd does
// for socket units: descriptors from 3 on, of which LISTEN_FDS says how many there are, LISTEN_FDNAMES their names, and
// LISTEN_PID for which process they are meant. A listening socket is listened at (Accept=no), a connected one
// is the one connection (Accept=yes).
//
// The socket stays open in this process and in the manager, so that who connects while nobody accepts waits.
type Activation struct {
	// Name is the socket's name (FileDescriptorName=), or its number from 0 on. It may be empty if there is
	// one socket only.
	Name string
}

// ErrNotActivated says that no service manager has passed this process such a socket.
var ErrNotActivated = errors.New("endpoint: no such socket was passed to this process")

func parseActivation(rest string) (Endpoint, error) {
	if strings.Contains(rest, ":") {
		return nil, errors.New("a name has no colon")
	}
	return Activation{Name: rest}, nil
}

// String returns the name as Parse reads it.
func (e Activation) String() string { return "activation:" + e.Name }

// Dial makes a connection of a socket that is connected. The error is ErrNotActivated if there is none, or a
// *bufio.DescriptorError.
func (e Activation) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	fd, err := e.find()
	if err != nil {
		return nil, err
	}
	return FD{R: fd, W: fd}.Dial(ctx, opts)
}

// Open gives the bytes of a socket that is connected: see Opener.
func (e Activation) Open(ctx context.Context) (Transport, error) {
	fd, err := e.find()
	if err != nil {
		return nil, err
	}
	return FD{R: fd, W: fd}.Open(ctx)
}

// Listen listens at a socket that listens. The error is ErrNotActivated if there is none, ErrNotListening if it is a
// connection.
func (e Activation) Listen(ctx context.Context) (*Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := e.find()
	if err != nil {
		return nil, err
	}
	l, err := listenerFD(fd)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return NewListener(l, e), nil
}

// Serve serves every connection of a socket that listens, or the one connection that the socket is.
func (e Activation) Serve(ctx context.Context, opts *pconn.Options) error {
	l, err := e.Listen(ctx)
	if errors.Is(err, ErrNotListening) {
		return serveOne(ctx, e, opts)
	}
	if err != nil {
		return err
	}
	return l.Serve(ctx, opts)
}

// firstActivated is the first descriptor that a service manager passes.
const firstActivated = 3

// find returns the descriptor of the socket.
func (e Activation) find() (int, error) {
	none := func(why string) (int, error) {
		return 0, fmt.Errorf("endpoint: %s: %w: %s", e, ErrNotActivated, why)
	}
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return none(fmt.Sprintf("LISTEN_PID is %q, this is process %d", pid, os.Getpid()))
	}
	n, err := strconv.ParseUint(os.Getenv("LISTEN_FDS"), 10, 16)
	if err != nil || n == 0 {
		return none(fmt.Sprintf("LISTEN_FDS is %q", os.Getenv("LISTEN_FDS")))
	}
	if e.Name == "" {
		if n > 1 {
			return none(fmt.Sprintf("there are %d, and a name or number has to say which", n))
		}
		return firstActivated, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range min(len(names), int(n)) {
		if names[i] == e.Name {
			return firstActivated + i, nil
		}
	}
	if i, err := strconv.ParseUint(e.Name, 10, 16); err == nil && i < n {
		return firstActivated + int(i), nil
	}
	return none(fmt.Sprintf("there are %d, named %q", n, names))
}
