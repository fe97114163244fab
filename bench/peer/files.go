package peer

import (
	"errors"
	"net"
	"os"
	"time"
)

// files is two pipe ends as what the libraries ask for: a net.Conn.
type files struct{ r, w *os.File }

// Files makes a net.Conn of the two pipe ends of one side.
func Files(r, w *os.File) net.Conn { return &files{r, w} }

func (f *files) Read(p []byte) (int, error)  { return f.r.Read(p) }
func (f *files) Write(p []byte) (int, error) { return f.w.Write(p) }
func (f *files) Close() error                { return errors.Join(f.w.Close(), f.r.Close()) }

func (f *files) LocalAddr() net.Addr  { return pipeAddr{} }
func (f *files) RemoteAddr() net.Addr { return pipeAddr{} }
func (f *files) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}
func (f *files) SetReadDeadline(t time.Time) error  { return f.r.SetReadDeadline(t) }
func (f *files) SetWriteDeadline(t time.Time) error { return f.w.SetWriteDeadline(t) }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// oneListener accepts one connection and then waits to be closed.
type oneListener struct {
	conn   chan net.Conn
	closed chan struct{}
}

// ListenOnce returns a listener that accepts conn and then waits to be closed.
func ListenOnce(conn net.Conn) net.Listener { return listenOnce(conn) }

func listenOnce(conn net.Conn) *oneListener {
	l := &oneListener{make(chan net.Conn, 1), make(chan struct{})}
	l.conn <- conn
	return l
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *oneListener) Addr() net.Addr { return pipeAddr{} }
