package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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
}

func parseUnix(rest string) (Endpoint, error) {
	e := Unix{Path: rest}
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
func (e Unix) String() string { return "unix:" + e.Path }

// address is the path as package net takes it, for which a leading @ is no file.
func (e Unix) address() string {
	if strings.HasPrefix(e.Path, "@") {
		return "./" + e.Path
	}
	return e.Path
}

// Dial connects to the socket.
func (e Unix) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	if err := e.check(); err != nil {
		return nil, &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	return dialSocket(ctx, e, "unix", e.address(), opts)
}

// Serve listens and serves every connection: see Listen and Listener.Serve.
func (e Unix) Serve(ctx context.Context, opts *pconn.Options) error {
	l, err := e.Listen(ctx)
	if err != nil {
		return err
	}
	return l.Serve(ctx, opts)
}

// Listen listens at the path. A socket that is there already is removed if nobody answers on it; if somebody does, the
// error is syscall.EADDRINUSE, and nothing but a socket is ever removed. The Listener's Close removes the
// socket.
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
	return newListener(l, e, func() { removeSame(e.address(), st) }), nil
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
	for range 2 {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "unix", e.address())
		switch {
		case err == nil:
			_ = nc.Close()
			return fmt.Errorf("%w: another process serves it", syscall.EADDRINUSE)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("%w: whether another process serves it cannot be told: %w", syscall.EADDRINUSE, err)
		}
		if err := sleep(ctx, staleWait); err != nil {
			return err
		}
	}
	removeSame(e.address(), st)
	return nil
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
