package endpoint

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

var (
	// ErrTerminal says that standard input or output is a terminal, where nobody speaks packets.
	ErrTerminal = errors.New("it is a terminal; packets are for programs: start this one from another program, for instance by: packetstream call -- COMMAND")

	// ErrNoStream says that standard input or output was closed when the process began, is the null
	// device, or was taken by a connection before.
	ErrNoStream = errors.New("it is closed, or the null device, or already taken by a connection")

	// ErrNotListening says that an endpoint has one connection and cannot be listened at.
	ErrNotListening = errors.New("endpoint: cannot be listened at")

	// ErrNotDrained says that a server was stopped and connections did not end in good order within
	// their DrainTimeout. They were closed.
	ErrNotDrained = errors.New("endpoint: connections did not end in time")

	// ErrListenerClosed is what a Listener returns after Close.
	ErrListenerClosed = fmt.Errorf("endpoint: listener is closed: %w", os.ErrClosed)
)

// SyntaxError says what is wrong with an endpoint's string.
type SyntaxError struct {
	Endpoint string
	Reason   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("endpoint: %q: %s", e.Endpoint, e.Reason)
}

// UnknownSchemeError says that an endpoint's string does not begin with a scheme that is known.
type UnknownSchemeError struct {
	Endpoint string
	Known    []string // the schemes there are, each with its colon
}

func (e *UnknownSchemeError) Error() string {
	return fmt.Sprintf("endpoint: %q: unknown scheme; there are %s", e.Endpoint, strings.Join(e.Known, " "))
}

// AdmissionError says that somebody who connected to a Listener was not let in. It concerns that one peer only.
type AdmissionError struct {
	Endpoint string   // where it was
	Addr     net.Addr // the peer's
	Err      error    // a *UserError, or why the handshake failed
}

func (e *AdmissionError) Error() string {
	return fmt.Sprintf("endpoint: %s: peer %v was not admitted: %v", e.Endpoint, e.Addr, e.Err)
}

// Unwrap returns Err.
func (e *AdmissionError) Unwrap() error { return e.Err }

// StdioError says why this process's standard input and output cannot be a connection.
type StdioError struct {
	FD  int   // 0 or 1
	Err error // ErrTerminal, ErrNoStream, or the system's error
}

func (e *StdioError) Error() string {
	return fmt.Sprintf("endpoint: standard %s: %v", [...]string{"input", "output"}[e.FD], e.Err)
}

// Unwrap returns Err.
func (e *StdioError) Unwrap() error { return e.Err }

// Exit is how a child ended.
type Exit struct {
	// Command is the path of the program, PID its process.
	Command string
	PID     int
	// Exited is false if the child did not end: it closed its output only, or sent what is no
	// packet.
	Exited bool
	// Code is the exit status, -1 if the child has not exited or was ended by Signal.
	Code   int
	Signal os.Signal
	// Step is what made the child end, as far as that was Close's doing.
	Step Step
	// Held says that a process which is not in the child's process group still holds its output or
	// its standard error.
	Held bool
	// CPU is the processor time that the child used, with what it has waited for, and Memory the most memory that
	// it had at a time, in bytes. Linux counts in Memory what this process had when it started the child.
	CPU    time.Duration
	Memory int64
	// Stderr is what the child wrote last to its standard error, up to 64 KiB. It must not be changed.
	Stderr []byte
}

// String says how the child ended, in one line without its standard error.
func (e *Exit) String() string {
	s := e.status()
	if e.Step > StepEOF {
		s += fmt.Sprintf(" (stopped by %s)", e.Step)
	}
	if e.Held {
		s += ", a process that it started still holds its pipes"
	}
	return s
}

func (e *Exit) status() string {
	switch {
	case !e.Exited:
		return "still running"
	case e.Signal != nil:
		return "signal: " + e.Signal.String()
	case e.Code < 0:
		return "exit status unknown"
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// bad reports whether the child's end was not what was asked of it.
func (e *Exit) bad() bool {
	return !e.Exited || e.Code != 0 || e.Signal != nil || e.Step > StepEOF || e.Held
}

// ExitError is how the end of a child, or of the connection to it, is reported: by every call that
// was waiting, and by Wait and Close.
type ExitError struct {
	Exit
	// Err is what ended the connection, such as pconn.ErrPeerClosed.
	Err error
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "endpoint: child %s: %s", e.Command, &e.Exit)
	if e.PID > 0 {
		fmt.Fprintf(&b, " (process %d)", e.PID)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if tail := strings.TrimRight(string(e.Stderr), "\r\n"); tail != "" {
		dots := ""
		if len(tail) > errorTail {
			dots, tail = "...", tail[len(tail)-errorTail:]
		}
		fmt.Fprintf(&b, "; its standard error ends: %s%q", dots, tail)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }
