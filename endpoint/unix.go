package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// Unix is a socket in the file system.
type Unix struct {
	Path string
	// Mode is who may connect to a socket that is listened at, by default 0600: the same user only. It
	// holds from the first moment.
	Mode fs.FileMode
	// UIDs, if not nil, are the users who may be at the other end: who connects, and whose socket is
	// connected to. The system says who it is, where it can (on Linux); elsewhere nobody is allowed.
	UIDs []int
}

func parseUnix(rest string) (Endpoint, error) {
	path, p, err := cutParams(rest, "mode", "allow")
	if err != nil {
		return nil, err
	}
	e := Unix{Path: path}
	if mode := p["mode"]; mode != "" {
		n, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("mode %q is no octal number such as 0660", mode)
		}
		e.Mode = fs.FileMode(n)
	}
	if e.UIDs, err = parseUsers(p["allow"]); err != nil {
		return nil, err
	}
	return e, e.check()
}

func (e Unix) check() error {
	switch {
	case e.Path == "":
		return errors.New("a path is missing")
	case len(e.Path) > maxUnixPath:
		return fmt.Errorf("the path has %d bytes, of which a socket's may have %d", len(e.Path), maxUnixPath)
	case e.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("mode %v has more than permissions", e.Mode)
	}
	return nil
}

// String returns the path as Parse reads it.
func (e Unix) String() string {
	p := params{"allow": formatUsers(e.UIDs)}
	if e.Mode != 0 {
		p["mode"] = fmt.Sprintf("%04o", e.Mode)
	}
	return "unix:" + p.join(e.Path)
}

// address is the path as package net takes it, for which a leading @ is no file.
func (e Unix) address() string {
	if strings.HasPrefix(e.Path, "@") {
		return "./" + e.Path
	}
	return e.Path
}

// Dial connects to the socket. The error is a *UserError if it is that of another user than UIDs allow.
func (e Unix) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	nc, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return NewConn(nc, e.String(), opts)
}

// Open connects: see Opener.
func (e Unix) Open(ctx context.Context) (Transport, error) { return transportOf(e.open(ctx)) }

func (e Unix) open(ctx context.Context) (net.Conn, error) {
	if err := e.check(); err != nil {
		return nil, &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	return dialUser(ctx, e, e.address(), e.UIDs)
}

// dialUser connects to a Unix socket that must be one of these users'.
func dialUser(ctx context.Context, e Endpoint, addr string, uids []int) (net.Conn, error) {
	nc, err := dialSocket(ctx, e, new(net.Dialer), "unix", addr)
	if err != nil {
		return nil, err
	}
	if err := checkUser(peerOf(nc), uids); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return nc, nil
}

// Serve listens and serves every connection: see Listen and Listener.Serve.
func (e Unix) Serve(ctx context.Context, opts *pconn.Options) error {
	return listenAndServe(ctx, e, opts)
}

// Listen listens at the path. A socket that is there already is removed if nobody answers on it; if somebody does, the
// error is syscall.EADDRINUSE, and nothing but a socket is ever removed. The Listener's Close removes the
// socket. Connections of users whom UIDs do not allow are closed, each with a *UserError.
func (e Unix) Listen(ctx context.Context) (*Listener, error) {
	if err := e.check(); err != nil {
		return nil, &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	l, err := e.listen(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return l, nil
}

func (e Unix) listen(ctx context.Context) (*Listener, error) {
	// Two that find the same stale socket must not remove each other's new one.
	unlock, err := lockDir(ctx, filepath.Dir(e.address()))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := e.removeStale(ctx); err != nil {
		return nil, err
	}
	mode := e.Mode
	if mode == 0 {
		mode = 0o600
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error { return restrict(rc, mode) }}
	l, err := lc.Listen(ctx, "unix", e.address())
	if err != nil {
		return nil, err
	}
	// Our own removal makes sure that it removes what is made here.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	st, err := os.Lstat(e.address())
	if err == nil {
		err = os.Chmod(e.address(), mode)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	made := NewListener(l, e)
	made.remove = func() { removeSame(e.address(), st) }
	made.uids = e.UIDs
	return made, nil
}

// removeStale removes a socket that refuses, and complains of one that answers and of anything else.
func (e Unix) removeStale(ctx context.Context) error {
	st, err := os.Lstat(e.address())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%w: it exists and is no socket", syscall.EADDRINUSE)
	}
	// Between its bind and its listen a live one refuses too: it is asked twice.
	for range 2 {
		stale, err := isStale(ctx, e.address())
		if err != nil || !stale {
			return err
		}
		if err := sleep(ctx, staleWait); err != nil {
			return err
		}
	}
	return e.removeAside(ctx)
}

// isStale finds out whether nobody listens at a socket. If that cannot be told, or somebody does, it is an error.
// Without one it is not stale if it is there no more.
func isStale(ctx context.Context, addr string) (bool, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", addr)
	switch {
	case err == nil:
		_ = nc.Close()
		return false, fmt.Errorf("%w: another process serves it", syscall.EADDRINUSE)
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return false, fmt.Errorf("%w: whether another process serves it cannot be told: %w", syscall.EADDRINUSE, err)
	}
	return true, nil
}

// removeAside removes what was found stale. Another program, which knows nothing of our lock, may have put its own
// socket in its place since: it is moved aside first, which a listening socket does not mind, and asked
// once more; a live one goes back.
func (e Unix) removeAside(ctx context.Context) error {
	path := e.address()
	aside, err := unusedName(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = os.Rename(path, aside)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	stale, err := isStale(ctx, aside)
	if err == nil && stale {
		return os.Remove(aside)
	}
	// A link, unlike a rename, never takes the place of a third one.
	if linkErr := os.Link(aside, path); linkErr != nil {
		return errors.Join(err, linkErr)
	}
	return errors.Join(err, os.Remove(aside))
}

// unusedName returns a path in a directory where nothing is. It is short, since a socket's may not be long.
func unusedName(dir string) (string, error) {
	for range 100 {
		path := filepath.Join(dir, "."+strconv.FormatInt(rand.Int64N(36*36*36), 36))
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no name to move it aside in %s", dir)
}

// removeSame removes a file if it is still the same.
func removeSame(path string, was fs.FileInfo) {
	if now, err := os.Lstat(path); err == nil && os.SameFile(was, now) {
		// If it cannot be removed the next bind says so.
		_ = os.Remove(path)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
