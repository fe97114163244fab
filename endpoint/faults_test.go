//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// faultLimit is how long any fault may take, until everything is gone.
const faultLimit = 10 * time.Second

// faultStop is the ladder of the faults, and closeLimit how long ending a child by it may take: its three durations, before
// them the connection's CloseTimeout, after them what standard error is waited for, and a second for a busy machine.
var faultStop = endpoint.Stop{EOF: 300 * time.Millisecond, Term: 300 * time.Millisecond, Kill: 300 * time.Millisecond}

const (
	faultCloseTimeout = 300 * time.Millisecond
	closeLimit        = 3*300*time.Millisecond + faultCloseTimeout + time.Second + time.Second
)

// fault is something that a child does which it should not.
type fault struct {
	cmd *exec.Cmd
	// act does what it takes, if anything, and returns what a caller gets. By default that is one call.
	act func(t *testing.T, c *endpoint.Child) error
	// text is what the error says, and tail what its standard error ends with.
	text []string
	tail string
	// closed is what Close says, nil if nothing.
	closed []string
}

func sh(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

// note has a helper say something on standard error.
func note(t *testing.T, c *endpoint.Child, text string) {
	t.Helper()
	_, err := c.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: []byte(text)})
	require.NoError(t, err)
}

// closeInTime closes a child, which takes no longer than the ladder's durations.
func closeInTime(t *testing.T, c *endpoint.Child) error {
	t.Helper()
	begin := time.Now()
	err := c.Close()
	require.Less(t, time.Since(begin), closeLimit)
	return err
}

func faults() map[string]fault {
	return map[string]fault{
		"exits before a call": {
			cmd: sh("echo not today >&2; exit 4"), text: []string{"exit status 4"}, tail: "not today\n", closed: []string{"exit status 4"},
		},
		"exits in the middle of a header": {
			cmd: sh(`printf '\007\003'; echo half >&2; exit 3`), text: []string{"exit status 3", "ends inside a packet"}, tail: "half\n", closed: []string{"exit status 3"},
		},
		"exits in the middle of a payload": {
			cmd: sh(`printf '\050\002\002\001some of it'; echo half >&2; exit 3`), text: []string{"exit status 3", "ends inside a payload"}, tail: "half\n", closed: []string{"exit status 3"},
		},
		"exits with requests outstanding": {
			cmd: childtest.Command("serve"),
			act: func(t *testing.T, c *endpoint.Child) error {
				hanging, err := c.Submit(t.Context(), pconn.Request{Type: typeHang})
				require.NoError(t, err)
				_, err = c.Do(t.Context(), pconn.Request{Type: typeExit, Flags: 9, Payload: []byte("so long")})
				_, hung := hanging.Wait(t.Context())
				require.Same(t, err, hung)
				return err
			},
			text: []string{"exit status 9"}, tail: "so long", closed: []string{"exit status 9"},
		},
		"is killed": {
			cmd: childtest.Command("serve"),
			act: func(t *testing.T, c *endpoint.Child) error {
				note(t, c, "about to die")
				hanging, err := c.Submit(t.Context(), pconn.Request{Type: typeHang})
				require.NoError(t, err)
				require.NoError(t, syscall.Kill(c.PID(), syscall.SIGKILL))
				_, err = hanging.Wait(t.Context())
				return err
			},
			text: []string{"signal: killed"}, tail: "about to die", closed: []string{"signal: killed"},
		},
		"ignores the end of its input": {
			cmd:    childtest.Command("deaf"),
			act:    func(t *testing.T, c *endpoint.Child) error { note(t, c, "deaf"); return closeInTime(t, c) },
			text:   []string{"signal: terminated", "stopped by SIGTERM"},
			tail:   "deaf",
			closed: []string{"stopped by SIGTERM"},
		},
		"ignores SIGTERM": {
			cmd:    childtest.Command("deaf and stubborn"),
			act:    func(t *testing.T, c *endpoint.Child) error { note(t, c, "stubborn"); return closeInTime(t, c) },
			text:   []string{"signal: killed", "stopped by SIGKILL"},
			tail:   "stubborn",
			closed: []string{"stopped by SIGKILL"},
		},
		"is stopped": {
			cmd: childtest.Command("deaf"), // once it goes on the end of its input might be what ends it
			act: func(t *testing.T, c *endpoint.Child) error {
				note(t, c, "here still")
				require.NoError(t, syscall.Kill(c.PID(), syscall.SIGSTOP))
				childtest.AwaitState(t, c.PID(), "T")
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				_, err := c.Do(ctx, pconn.Request{})
				require.Equal(t, context.DeadlineExceeded, err)
				return closeInTime(t, c)
			},
			text: []string{"signal: terminated", "stopped by SIGTERM"}, tail: "here still", closed: []string{"stopped by SIGTERM"},
		},
		"prints on standard output first": {
			cmd:  sh("echo 'Last login: today'; echo lost >&2; exec cat >/dev/null"),
			text: []string{"still running", `it begins "Last login: today`}, tail: "lost\n",
		},
		"closes its output only": {
			cmd: sh("echo deaf-mute >&2; exec sleep 60 >&-"), text: []string{"still running", "closed by the peer"}, tail: "deaf-mute\n", closed: []string{"stopped by SIGTERM"},
		},
		"closes its input only": {
			cmd: sh("echo deaf-mute >&2; exec sleep 60 <&-"),
			act: func(t *testing.T, c *endpoint.Child) error {
				for {
					// It may not have got so far.
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
					_, err := c.Do(ctx, pconn.Request{})
					cancel()
					if !errors.Is(err, context.DeadlineExceeded) {
						return err
					}
				}
			},
			text: []string{"still running", "no longer reads"}, tail: "deaf-mute\n", closed: []string{"stopped by SIGTERM"},
		},
		"leaves a process that holds its pipes": {
			cmd:  sh("sleep 60 & echo left $! >&2; exit 3"),
			text: []string{"exit status 3", "held open by a process that it started"}, tail: "left PID\n", closed: []string{"exit status 3"},
		},
		"forks twice into a session of its own": {
			cmd:  sh(`exec 5>&1; (setsid sh -c 'echo left $$ >&2; echo; exec sleep 60 >&5' &) | read ready; exit 3`),
			text: []string{"exit status 3", "held open by a process that it started"}, tail: "left PID\n", closed: []string{"still holds its pipes"},
		},
		"floods its standard error": {
			cmd:  sh("head -c 1073741824 /dev/zero >&2; echo flooded >&2; exit 5"),
			text: []string{"exit status 5"}, tail: "\x00flooded\n", closed: []string{"exit status 5"},
		},
		"has a full disk for its log": {
			cmd: onFullDisk(childtest.Command("serve")),
			act: func(t *testing.T, c *endpoint.Child) error {
				for range 100 {
					note(t, c, strings.Repeat("it goes on\n", 1000))
				}
				_, err := c.Do(t.Context(), pconn.Request{Type: typeExit, Flags: 2, Payload: []byte("the end")})
				return err
			},
			text: []string{"exit status 2"}, tail: "the end", closed: []string{"exit status 2"},
		},
	}
}

// onFullDisk hands a command's standard error to a file on a disk that is full.
func onFullDisk(cmd *exec.Cmd) *exec.Cmd {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	cmd.Stderr = full
	return cmd
}

// Whatever a child does, its error says so and how its standard error ends, and within the ladder's durations
// nothing is left of it.
func TestFaults(t *testing.T) {
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			if full, ok := f.cmd.Stderr.(*os.File); ok {
				defer full.Close()
			} else {
				f.cmd.Stderr = io.Discard
			}
			before := childtest.Descriptors(t)
			begin := time.Now()
			opts := &endpoint.StartOptions{Conn: pconn.Options{CloseTimeout: faultCloseTimeout}, Stop: faultStop}
			child, err := endpoint.Start(t.Context(), f.cmd, opts)
			require.NoError(t, err)
			defer child.Close()
			if f.act == nil {
				_, err = child.Do(t.Context(), pconn.Request{})
			} else {
				err = f.act(t, child)
			}
			exit := childtest.ExitOf(t, err)
			for _, text := range f.text {
				require.ErrorContains(t, err, text)
			}
			require.Equal(t, child.PID(), exit.PID)
			if said := strings.TrimSpace(f.tail); said != "" && !strings.Contains(said, "PID") {
				require.Contains(t, string(exit.Stderr), said, "the error has what it said last")
				require.ErrorContains(t, err, strings.Trim(said, "\x00"))
			}
			closed := closeInTime(t, child)
			if f.closed == nil {
				require.NoError(t, closed)
			}
			for _, text := range f.closed {
				require.ErrorContains(t, closed, text)
			}
			nothingIsLeft(t, child, f)
			require.Empty(t, childtest.Children(t))
			require.LessOrEqual(t, len(childtest.Descriptors(t)), len(before), "descriptors are left: %v, before %v", childtest.Descriptors(t), before)
			require.Less(t, time.Since(begin), faultLimit)
		})
	}
}

// nothingIsLeft looks for the child, its process group, and what left the group. That is left alone by the ladder, and
// ended here.
func nothingIsLeft(t *testing.T, child *endpoint.Child, f fault) {
	t.Helper()
	require.Equal(t, "", childtest.State(child.PID()), "it has been waited for")
	require.Eventually(t, func() bool { return syscall.Kill(-child.PID(), 0) == syscall.ESRCH }, faultLimit, time.Millisecond,
		"something of its group is left")
	tail := string(child.Stderr())
	if i := strings.Index(tail, "left "); i >= 0 {
		var pid int
		_, err := fmt.Sscanf(tail[i:], "left %d", &pid)
		require.NoError(t, err)
		f.tail = strings.ReplaceAll(f.tail, "PID", fmt.Sprint(pid))
		if child.Exit().Held {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL), "it was none of the ladder's")
		}
		childtest.AwaitGone(t, pid)
	}
	require.True(t, strings.HasSuffix(tail, f.tail), "%q does not end with %q", tail[max(0, len(tail)-100):], f.tail)
	require.LessOrEqual(t, len(tail), 64<<10)
}

// Where the limit of descriptors is reached a start fails with the system's error and leaves nothing, however far
// it came.
func TestDescriptorLimit(t *testing.T) {
	childtest.NoLeaks(t)
	cmd := childtest.Command("at the limit")
	text, code := output(cmd)
	require.Equal(t, 0, code, text)
}

// startAtTheLimit starts children with fewer descriptors than it takes, one more each time.
func startAtTheLimit() error {
	open := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	// The runtime's own are opened first.
	if _, err := startAndCall(endpoint.OverStdio); err != nil {
		return err
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		return err
	}
	for _, over := range []endpoint.Over{endpoint.OverStdio, endpoint.OverPipes, endpoint.OverSocket} {
		before := open()
		failures := 0
		for limit := before - 1; ; limit++ {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: was.Max}); err != nil {
				return err
			}
			started, err := startAndCall(over)
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
				return err
			}
			if after := open(); after > before {
				return fmt.Errorf("limit %d: %d descriptors, %d before", limit, after, before)
			}
			if err == nil {
				break
			}
			if started || !errors.Is(err, unix.EMFILE) {
				return fmt.Errorf("limit %d: %w", limit, err)
			}
			failures++
		}
		if failures < 5 {
			return fmt.Errorf("%v: only %d starts failed", over, failures)
		}
	}
	return nil
}

func startAndCall(over endpoint.Over) (started bool, err error) {
	child, err := endpoint.Start(context.Background(), childtest.Command("serve"), &endpoint.StartOptions{Over: over})
	if err != nil {
		return false, err
	}
	_, err = child.Do(context.Background(), pconn.Request{})
	return true, errors.Join(err, child.Close())
}
