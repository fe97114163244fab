package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// Child is a started command and the connection to it. Its methods may be
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

	vetting *vetting // or nil

	started  chan struct{} // closed when all of the above is set
	received chan struct{} // closed when nothing more is received, unless Close was called
	gone     chan struct{} // closed as the very last
	exit     *ExitError    // set before gone is closed
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
	c.finish(c.in, released)
	c.exit.Err = c.Conn.Err()
}

// finish stops the process, whose input has ended, and learns how it ended. released is closed when nobody holds its
// output, in, and its standard error.
func (c *Child) finish(in io.Closer, released <-chan struct{}) {
	step := climb(c.proc, c.proc.exited, released, c.stop)
	held := !isClosed(released)
	// Whoever else holds the pipes keeps nobody waiting.
	_ = in.Close()
	c.stderr.close()
	<-released
	if isClosed(c.proc.exited) {
		c.proc.reap()
	} else {
		// The system does not let go of the process. This goroutine ends when it does.
		go c.proc.reap()
	}
	c.exit = c.exitError(nil)
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
	ended := c.outputEnded()
	if ended {
		moment = exitMoment
	} else if errors.Is(err, pconn.ErrPeerClosed) && !c.waitedFor() {
		return err // a goodbye: nobody asks why, and the child waits for ours
	}
	if errors.Is(err, bufio.ErrInterrupted) || !ended && errors.Is(err, pconn.ErrPeerGone) && isClosed(c.proc.exited) {
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
	return &ExitError{Exit: c.state(), Err: err}
}

// state says how the child ended, as far as it is known now.
func (c *Child) state() Exit {
	e := Exit{Command: c.command, PID: c.proc.pid(), Code: -1, Stderr: c.stderr.tail.bytes()}
	if isClosed(c.proc.exited) {
		e.Exited, e.Code, e.Signal = true, c.proc.code, c.proc.signalled
		e.CPU, e.Memory = c.proc.usage.cpu, c.proc.usage.memory
	}
	return e
}

// Exit returns how the child ended, well or badly: all of it once Done is closed, and before what is known. It does
// not wait.
func (c *Child) Exit() Exit {
	if isClosed(c.gone) {
		return c.exit.Exit
	}
	return c.state()
}

// Signal sends a signal to every process of the child's process group, or to the child alone if it was started in the
// foreground. Those that are stopped go on with SIGTERM. The error is os.ErrProcessDone if they have ended.
func (c *Child) Signal(sig syscall.Signal) error { return c.proc.signal(sig) }

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
