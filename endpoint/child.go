package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// StartOptions are the settings of a child. The zero value, or nil, is the default of all.
type StartOptions struct {
	// Conn are the settings of its connection. Conn.Peer.PID is the child's process, and Conn.Name
	// the name of its program, if they are not set.
	Conn pconn.Options
	// Stop says how long the child is given when it is stopped.
	Stop Stop
}

// Child is a started command and the connection to it over its standard input and output. Its methods may be
// called concurrently.
//
// Whatever happens first, the end of the connection or of the process, brings about the other; when
// both are over Done is closed. Every Child has to be ended, by Close or Shutdown.
type Child struct {
	*pconn.Conn

	proc    *process
	command string
	stop    Stop
	in      *bufio.Input // read by the connection, and after its end by discard
	stderr  *stderr

	started  chan struct{} // closed when all of the above is set
	received chan struct{} // closed when nothing more is received, unless Close was called
	gone     chan struct{} // closed as the very last
	exit     *ExitError    // set before gone is closed
}

// Start starts a command and makes a connection of its standard input and output, which must not be set in
// cmd. Its standard error is passed through to this process's, or to cmd.Stderr if that is set (to io.Discard to
// keep its tail only); a writer that takes nothing for a second loses some. The command runs in a process group of
// its own. It inherits no descriptor but those of cmd: what this process was itself started with is made
// close-on-exec (on Linux 5.11 and later).
//
// ctx limits the start, not the child's life. A command that cannot be started is an error that wraps that of
// exec.Cmd.Start: fs.ErrNotExist or exec.ErrNotFound, fs.ErrPermission. cmd belongs to the Child afterwards.
func Start(ctx context.Context, cmd *exec.Cmd, opts *StartOptions) (*Child, error) {
	if opts == nil {
		opts = new(StartOptions)
	}
	stop, err := opts.Stop.withDefaults()
	if err == nil {
		err = checkCommand(ctx, cmd)
	}
	if err != nil {
		return nil, err
	}
	c := &Child{
		command:  cmd.Path,
		stop:     stop,
		started:  make(chan struct{}),
		received: make(chan struct{}),
		gone:     make(chan struct{}),
	}
	handTo := cmd.Stderr
	if handTo == nil {
		handTo = ownStderr{}
	}
	pipes, err := c.startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("endpoint: start %s: %w", cmd.Path, err)
	}
	if err := c.connect(pipes, &opts.Conn); err != nil {
		c.proc.signal(syscall.SIGKILL)
		c.proc.reap()
		pipes.closeAll()
		return nil, err
	}
	c.start(pipes.stderr, handTo)
	return c, nil
}

func checkCommand(ctx context.Context, cmd *exec.Cmd) error {
	switch {
	case cmd == nil:
		return errors.New("endpoint: no command to start")
	case cmd.Stdin != nil || cmd.Stdout != nil:
		return fmt.Errorf("endpoint: start %s: its standard input and output are the connection's and must not be set", cmd.Path)
	}
	return ctx.Err()
}

// startProcess starts the command with pipes for its standard descriptors, and returns our ends.
func (c *Child) startProcess(cmd *exec.Cmd) (*childPipes, error) {
	ours, theirs, err := newChildPipes()
	if err != nil {
		return nil, err
	}
	defer theirs.closeAll()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs.stdin, theirs.stdout, theirs.stderr
	if c.proc, err = startProcess(cmd); err != nil {
		ours.closeAll()
		return nil, err
	}
	return ours, nil
}

// connect makes the connection.
func (c *Child) connect(pipes *childPipes, opts *pconn.Options) error {
	o := *opts
	if o.Name == "" {
		o.Name = filepath.Base(c.command)
	}
	if o.Peer == (pconn.Peer{}) {
		o.Peer.PID = c.proc.pid()
	}
	o.CloseInput = false // discard reads on
	o.EndError = func(err error) error {
		defer close(c.received)
		err = c.explainEnd(err)
		if opts.EndError != nil {
			err = opts.EndError(err)
		}
		return err
	}
	c.in = bufio.OwnInput(pipes.stdout)
	conn, err := pconn.New(c.in, bufio.OwnOutput(pipes.stdin), &o)
	if err != nil {
		return err
	}
	c.Conn = conn
	return nil
}

// start starts all goroutines of a child but the one that waits for the process (startProcess): the two of
// newStderr, and own, which joins the others and discard's and is joined by Close.
func (c *Child) start(errPipe *os.File, handTo io.Writer) {
	c.stderr = newStderr(errPipe, handTo)
	close(c.started)
	go c.own()
}

// own sees to the end of the child.
func (c *Child) own() {
	defer close(c.gone)
	select {
	case <-c.Conn.Done():
	case <-c.proc.exited:
		c.endConn()
	}
	released := c.discard()
	step := climb(c.proc, c.proc.exited, released, c.stop)
	held := !isClosed(released)
	// Whoever else holds the pipes keeps nobody waiting.
	_ = c.in.Close()
	c.stderr.close()
	<-released
	if isClosed(c.proc.exited) {
		c.proc.reap()
	} else {
		// The system does not let go of the process. This goroutine ends when it does.
		go c.proc.reap()
	}
	c.exit = c.exitError(c.Conn.Err())
	c.exit.Step, c.exit.Held = step, held
}

// endConn ends the connection to a process that has exited. As a rule its stream ends too; if another process
// holds it open, receiving is ended after a moment. Nobody is left to answer to.
func (c *Child) endConn() {
	moment := time.NewTimer(lingerMoment)
	defer moment.Stop()
	select {
	case <-c.received:
	case <-c.Conn.Done():
	case <-moment.C:
		c.in.Interrupt()
		select {
		case <-c.received:
		case <-c.Conn.Done():
		}
	}
	_ = c.Conn.Close() // Wait and Close tell who stays
}

// discard reads what the child still writes after the end of the connection, so that it is not hindered in ending
// well by a full or broken pipe. The channel is closed when nobody holds its output and standard
// error any longer, or they are closed here.
func (c *Child) discard() <-chan struct{} {
	released := make(chan struct{})
	c.in.Resume()
	go func() {
		defer close(released)
		_, _ = io.Copy(io.Discard, c.in)
		<-c.stderr.ended
	}()
	return released
}

// errHeld is the end of a connection to a child that has exited, and whose output another process holds.
var errHeld = errors.New("its output is held open by a process that it started")

// explainEnd adds what is known of the child to the error that ends the connection. It runs on the connection's
// goroutine, which has ceased to read.
func (c *Child) explainEnd(err error) error {
	<-c.started
	moment := aliveMoment
	if c.outputEnded() {
		moment = exitMoment
	} else if errors.Is(err, pconn.ErrPeerClosed) && !c.waitedFor() {
		return err // a goodbye: nobody asks why, and the child waits for ours
	}
	if errors.Is(err, bufio.ErrInterrupted) {
		err = fmt.Errorf("%w: %w", errHeld, err)
	}
	if within(c.proc.exited, moment) {
		within(c.stderr.ended, stderrMoment)
	}
	return c.exitError(err)
}

// outputEnded reports whether the child's output has ended, rather than what it says.
func (c *Child) outputEnded() bool {
	var b [1]byte
	_, err := c.in.TryRead(b[:])
	return errors.Is(err, io.EOF)
}

// waitedFor reports whether there are calls outstanding.
func (c *Child) waitedFor() bool {
	for _, f := range c.Conn.InFlight() {
		if f.Out {
			return true
		}
	}
	return false
}

// exitError says what is known of the child now.
func (c *Child) exitError(err error) *ExitError {
	e := &ExitError{Command: c.command, PID: c.proc.pid(), Code: -1, Stderr: c.stderr.tail.bytes(), Err: err}
	if isClosed(c.proc.exited) {
		e.Exited, e.Code, e.Signal = true, c.proc.code, c.proc.signalled
	}
	return e
}

// PID returns the child's process id. It says nothing once Done is closed.
func (c *Child) PID() int { return c.proc.pid() }

// Stderr returns a copy of what the child wrote last to its standard error, up to 64 KiB.
func (c *Child) Stderr() []byte { return c.stderr.tail.bytes() }

// Done returns a channel that is closed when the connection is over and the child has ended, or was given up after
// SIGKILL.
func (c *Child) Done() <-chan struct{} { return c.gone }

// Wait waits until the child has ended and the connection is over. It returns nil if the connection ended in good
// order and the child exited with status 0 without being signalled, else what Err returns, an *ExitError,
// a *pconn.StayError, or several of them joined. It does not end the child, and does not wait for
// descendants that hold its pipes.
func (c *Child) Wait() error {
	<-c.gone
	err := c.Conn.Wait()
	var exit *ExitError
	if errors.As(err, &exit) {
		return err
	}
	return errors.Join(err, c.exitFailure())
}

// Close ends the connection, as pconn.Conn.Close does, and then the child: see Stop. It returns within
// Conn.CloseTimeout, the durations of Stop and a second for a writer of standard error that is slow, together. The
// error is nil if the child exited with status 0 without being signalled, else an *ExitError; handlers that stay
// are in a *pconn.StayError beside it.
//
// It may be called more than once and from anywhere, and returns the same each time.
func (c *Child) Close() error {
	stay := c.Conn.Close()
	<-c.gone
	return errors.Join(stay, c.exitFailure())
}

// Shutdown ends the connection in good order, as pconn.Conn.Shutdown does, and waits for the child to end. If
// ctx ends first the error is exactly ctx.Err(), and the child is stopped as by Close without being waited for.
// Otherwise it is that of Wait. Called by a handler it starts the shutdown and returns nil.
func (c *Child) Shutdown(ctx context.Context) error {
	return shutdown(ctx, c.Conn, c.gone, c.Wait)
}

// shutdown ends a connection in good order, and waits for what ends with it.
func shutdown(ctx context.Context, conn *pconn.Conn, gone <-chan struct{}, wait func() error) error {
	err := conn.Shutdown(ctx)
	if !isClosed(conn.Done()) {
		return err // ctx has ended, or a handler called
	}
	select {
	case <-gone:
		return wait()
	default:
	}
	select {
	case <-gone:
		return wait()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exitFailure returns the child's end as an error if it was none in good order.
func (c *Child) exitFailure() error {
	if c.exit.bad() {
		return c.exit
	}
	return nil
}
