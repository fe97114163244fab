package endpoint

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// Open starts the command with its standard input and output as the bytes: see Opener. The Transport's CloseWrite ends
// its input, Close stops it as Child.Close does, with the default durations, and returns an *ExitError if it did
// not end with status 0; its Signal(sig syscall.Signal) error is that of Child. Its standard error is passed through to
// this process's.
func (e Exec) Open(ctx context.Context) (Transport, error) { return e.open(ctx, &StartOptions{}) }

func (e Exec) open(ctx context.Context, opts *StartOptions) (Transport, error) {
	cmd, err := e.command()
	if err == nil {
		err = checkCommand(ctx, cmd, opts)
	}
	if err != nil {
		return nil, err
	}
	stop, err := opts.Stop.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Child{command: cmd.Path, stop: stop}
	handTo := stderrWriters(cmd, opts)
	w, err := c.startProcess(cmd, opts)
	if err != nil {
		return nil, fmt.Errorf("endpoint: start %s: %w", cmd.Path, err)
	}
	c.stderr = newStderr(w.stderr, handTo)
	return &commandBytes{child: c, in: w.in, out: w.out}, nil
}

// commandBytes are a command's standard input and output as a Transport.
type commandBytes struct {
	child *Child // without a connection
	in    io.ReadCloser
	out   io.WriteCloser

	closing sync.Once
	err     error // of Close
}

func (b *commandBytes) Read(p []byte) (int, error)  { return b.in.Read(p) }
func (b *commandBytes) Write(p []byte) (int, error) { return b.out.Write(p) }
func (b *commandBytes) CloseWrite() error           { return b.out.Close() }

// Signal sends a signal: see Child.Signal.
func (b *commandBytes) Signal(sig syscall.Signal) error { return b.child.Signal(sig) }

// Close stops the command.
func (b *commandBytes) Close() error {
	b.closing.Do(func() { b.err = b.close() })
	return b.err
}

func (b *commandBytes) close() error {
	_ = b.out.Close()
	released := make(chan struct{})
	go func() { // it is waited for
		defer close(released)
		_, _ = io.Copy(io.Discard, b.in) // a full pipe must not hinder it in ending well
		<-b.child.stderr.ended
	}()
	b.child.finish(b.in, released)
	return b.child.exitFailure()
}
