package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/packetstream/packetstream/endpoint"
)

// signalHelp is what the help says of signals to commands that start a process and call it.
const signalHelp = `SIGINT, SIGTERM and SIGHUP (unless it is ignored, as by nohup) end it in good order. A process that it has started
is told so by the end of its input; 3 seconds later its process group gets SIGTERM, and 2 seconds later SIGKILL. A second
signal kills it at once. ssh: with a terminal runs in the foreground, where Ctrl-C reaches it by itself.`

// notifyEndings passes the signals on that ask a command to end.
func notifyEndings(signals chan<- os.Signal) {
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // to ask for one ends its being ignored
		signal.Notify(signals, syscall.SIGHUP)
	}
}

// untilInterrupted returns a context that the signals of notifyEndings end, with errInterrupted as its cause, and a func
// to call when it is no longer used. A second signal ends the process as if there were no such context.
func untilInterrupted(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	notifyEndings(signals)
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-done:
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		waiting.Wait()
		cancel(nil)
	}
}

// killAtSignal kills a child with its process group at a signal that comes after the end of ctx, and ends this process. stop
// ends that. Until then what would end this process alone does not.
func killAtSignal(ctx context.Context, child *endpoint.Child) (stop func()) {
	if child == nil {
		return func() {}
	}
	signals := make(chan os.Signal, 1)
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-ctx.Done():
			notifyEndings(signals)
		case <-done:
			return
		}
		select {
		case <-signals:
			_ = child.Signal(syscall.SIGKILL) // if it has ended, so much the better
			fmt.Fprintln(os.Stderr, "packetstream:", errInterrupted)
			os.Exit(exitInterrupted)
		case <-done:
		}
	})
	return func() {
		close(done)
		waiting.Wait()
		signal.Stop(signals)
	}
}

// withTimeout returns a context that ends after d, with errTimeout in its cause, or never if d is 0.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w after %v", errTimeout, d))
}

// because puts the reason for the end of ctx in place of an error that only says that it ended.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return context.Cause(ctx)
}
