package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/term"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// bytePipes joins two one-way streams to one.
type bytePipes struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p bytePipes) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p bytePipes) Close() error { return errors.Join(p.out.Close(), p.ReadCloser.Close()) }

// outputWriter is an Output as a plain writer.
type outputWriter struct {
	*bufio.Output
	batch bufio.Batch
}

func (w *outputWriter) Write(p []byte) (int, error) {
	w.batch.EndRef(w.batch.Begin(), p)
	if err := w.Output.Write(&w.batch, true); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stdioPipes returns standard input and output as one stream, on descriptors of its own whose reads Close ends.
func stdioPipes() (io.ReadWriteCloser, error) {
	for fd := range 2 {
		if term.IsTerminal(fd) {
			return nil, &endpoint.StdioError{FD: fd, Err: endpoint.ErrTerminal}
		}
	}
	in, err := bufio.InputFD(0)
	if err != nil {
		return nil, err
	}
	out, err := bufio.OutputFD(1)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return bytePipes{in, &outputWriter{Output: out}}, nil
}

// prpcChild is a command whose standard input and output are a connection.
type prpcChild struct {
	cmd  *exec.Cmd
	kill context.CancelFunc
}

func startPRPCChild(argv []string) (*prpcChild, prpc.Carrier, error) {
	ctx, kill := context.WithCancel(context.Background())
	child := &prpcChild{exec.CommandContext(ctx, argv[0], argv[1:]...), kill}
	killGroup(child.cmd)
	child.cmd.Stderr = os.Stderr
	in, err := child.cmd.StdinPipe()
	if err != nil {
		kill()
		return nil, nil, err
	}
	out, err := child.cmd.StdoutPipe()
	if err == nil {
		err = child.cmd.Start()
	}
	if err != nil {
		kill()
		return nil, nil, err
	}
	return child, prpc.NewByteStream(bytePipes{out, in}, 0), nil
}

// wait waits until the command has ended, whose input has. It and what it started are killed when ctx ends
// or it takes too long.
func (c *prpcChild) wait(ctx context.Context) error {
	defer c.kill()
	cause := fmt.Errorf("%w: the command did not end within %v", errTimeout, hangUpTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, hangUpTimeout, cause)
	defer cancel()
	stop := context.AfterFunc(ctx, c.kill)
	c.cmd.WaitDelay = time.Second
	err := c.cmd.Wait()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}
