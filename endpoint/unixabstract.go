package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/packetstream/packetstream/pconn"
)

// UnixAbstract is a Unix socket of Linux that has a name and no file. It is gone with its last process, and
// no permissions guard its name: whoever comes first may listen there, and everybody may connect. So both
// ends look who the other is.
type UnixAbstract struct {
	Name string
	// UIDs are the users who may be at the other end, by default this process's own and root.
	UIDs []int
	// AnyUser allows all users.
	AnyUser bool
}

func parseUnixAbstract(rest string) (Endpoint, error) {
	name, p, err := cutParams(rest, "allow")
	if err != nil {
		return nil, err
	}
	e := UnixAbstract{Name: name, AnyUser: p["allow"] == anyUser}
	if !e.AnyUser {
		if e.UIDs, err = parseUsers(p["allow"]); err != nil {
			return nil, err
		}
	}
	return e, e.check()
}

// anyUser stands for all users in a string.
const anyUser = "any"

func (e UnixAbstract) check() error {
	switch {
	case e.Name == "":
		return errors.New("a name is missing")
	case len(e.Name) > maxUnixPath:
		return fmt.Errorf("the name has %d bytes, of which a socket's may have %d", len(e.Name), maxUnixPath)
	}
	return nil
}

// String returns the name as Parse reads it.
func (e UnixAbstract) String() string {
	allow := formatUsers(e.UIDs)
	if e.AnyUser {
		allow = anyUser
	}
	return "unix-abstract:" + params{"allow": allow}.join(e.Name)
}

// users are those allowed, or nil for all.
func (e UnixAbstract) users() []int {
	switch {
	case e.AnyUser:
		return nil
	case e.UIDs == nil:
		return []int{os.Getuid(), 0}
	}
	return e.UIDs
}

// Dial connects to the socket. The error is a *UserError if it is that of a user who is not allowed, and an
// errors.ErrUnsupported on other systems than Linux.
func (e UnixAbstract) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	nc, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return NewConn(nc, e.String(), opts)
}

// Open connects: see Opener.
func (e UnixAbstract) Open(ctx context.Context) (Transport, error) { return transportOf(e.open(ctx)) }

func (e UnixAbstract) open(ctx context.Context) (net.Conn, error) {
	addr, err := e.address()
	if err != nil {
		return nil, err
	}
	return dialUser(ctx, e, addr, e.users())
}

// address is the name as package net takes it.
func (e UnixAbstract) address() (string, error) {
	if err := e.check(); err != nil {
		return "", &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	if !hasAbstract {
		return "", fmt.Errorf("endpoint: %s: sockets without a file: %w", e, errors.ErrUnsupported)
	}
	return "@" + e.Name, nil
}

// Listen listens at the name. Connections of users who are not allowed are closed, each with a *UserError.
func (e UnixAbstract) Listen(ctx context.Context) (*Listener, error) {
	addr, err := e.address()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", addr)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	made := NewListener(l, e)
	made.uids = e.users()
	return made, nil
}

// Serve listens and serves every connection: see Listener.Serve.
func (e UnixAbstract) Serve(ctx context.Context, opts *pconn.Options) error {
	return listenAndServe(ctx, e, opts)
}
