package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

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
	// Over is what the connection goes over, by default the child's standard input and output.
	Over Over
	// SHA256 is the checksum that the program's file must have, in hexadecimal, if it is set: it is not started else,
	// and the error is a *ChecksumError. That is against a wrong or a damaged file, not against somebody who may
	// write to it.
	SHA256 string
	// StderrLog is told of each line of the child's standard error, at level Info, if it is set.
	StderrLog *slog.Logger
	// Handshake is what the child has to say of itself before Start returns. The error is a *HandshakeError if it
	// does not.
	Handshake *Handshake
	// Foreground leaves the child in this process's own process group, so that it may ask for a password at the
	// terminal and Ctrl-C reaches it. Then signals are for the child alone, and what it leaves behind stays.
	Foreground bool
}

// Start starts a command and makes a connection to it, over its standard input and output, which must not be set in
// cmd, or over what opts.Over says. Its standard error is passed through to this process's, as it comes. A cmd.Stderr or
// opts.StderrLog gets it instead, or both do, a line at a time (cmd.Stderr may be io.Discard to keep the tail only);
// one that takes nothing for a second loses some. The command runs in a process group of its own. It inherits no
// descriptor but those of cmd: what this process was itself started with is made close-on-exec (on Linux 5.11 and
// later).
//
// On Linux the child is killed when this process ends without having ended it, for which it is started on a thread of
// the package's own. A cmd.SysProcAttr.Pdeathsig is heeded instead, and the calling thread's.
//
// ctx limits the start, not the child's life. A command that cannot be started is an error that wraps that of
// exec.Cmd.Start: fs.ErrNotExist or exec.ErrNotFound, fs.ErrPermission. cmd belongs to the Child afterwards.
func Start(ctx context.Context, cmd *exec.Cmd, opts *StartOptions) (*Child, error) {
	if opts == nil {
		opts = new(StartOptions)
	}
	stop, err := opts.Stop.withDefaults()
	if err == nil {
		err = checkCommand(ctx, cmd, opts)
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
	handTo := stderrWriters(cmd, opts)
	c.vetting = newVetting(cmd, opts.Handshake)
	wires, err := c.startProcess(cmd, opts)
	if err != nil {
		return nil, fmt.Errorf("endpoint: start %s: %w", cmd.Path, err)
	}
	if err := c.connect(wires, &opts.Conn); err != nil {
		_ = c.proc.signal(syscall.SIGKILL)
		c.proc.reap()
		wires.closeOurs()
		return nil, err
	}
	c.start(wires.stderr, handTo)
	if err := c.shake(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func checkCommand(ctx context.Context, cmd *exec.Cmd, opts *StartOptions) error {
	switch {
	case cmd == nil:
		return errors.New("endpoint: no command to start")
	case opts.Over == OverStdio && (cmd.Stdin != nil || cmd.Stdout != nil):
		return fmt.Errorf("endpoint: start %s: its standard input and output are the connection's and must not be set", cmd.Path)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if opts.SHA256 != "" && cmd.Err == nil {
		return checkSum(cmd.Path, opts.SHA256)
	}
	return nil
}

// startProcess starts the command with its ends of what connects us, and returns ours.
func (c *Child) startProcess(cmd *exec.Cmd, opts *StartOptions) (*wires, error) {
	w, err := wire(cmd, opts.Over)
	if err != nil {
		return nil, err
	}
	defer w.closeTheirs()
	if cmd.WaitDelay == 0 && (!isFile(cmd.Stdin) || !isFile(cmd.Stdout)) {
		cmd.WaitDelay = stderrFlush // whoever holds them keeps nobody waiting
	}
	if c.proc, err = startProcess(cmd, opts.Foreground); err != nil {
		w.closeOurs()
		return nil, err
	}
	return w, nil
}

// isFile reports whether package os passes a standard stream on as it is, rather than copy it.
func isFile(stream any) bool {
	_, ok := stream.(*os.File)
	return ok || stream == nil
}

// connect makes the connection.
func (c *Child) connect(w *wires, opts *pconn.Options) error {
	o := *opts
	if o.Name == "" {
		o.Name = filepath.Base(c.command)
	}
	if o.Peer == (pconn.Peer{}) {
		o.Peer.PID = c.proc.pid()
	}
	c.vetting.require(&o)
	o.CloseInput = false // discard reads on
	o.EndError = func(err error) error {
		defer close(c.received)
		err = c.explainEnd(err)
		if opts.EndError != nil {
			err = opts.EndError(err)
		}
		return err
	}
	c.in = bufio.OwnInput(w.in)
	conn, err := pconn.New(c.in, bufio.OwnOutput(w.out), &o)
	if err != nil {
		return err
	}
	c.Conn = conn
	return nil
}

// start starts all goroutines of a child but the one that waits for the process (startProcess): the two of
// newStderr, and own, which joins the others and discard's and is joined by Close.
func (c *Child) start(errPipe *os.File, handTo []io.Writer) {
	c.stderr = newStderr(errPipe, handTo)
	close(c.started)
	go c.own()
}
