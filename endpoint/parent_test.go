//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// parentOf starts a child that heeds neither the end of its input nor SIGTERM, says its number and stays. Threads
// come and go meanwhile.
func parentOf(args []string) error {
	child, err := endpoint.Start(context.Background(), childtest.Command(args[0]), nil)
	if err != nil {
		return err
	}
	if _, err := child.Do(context.Background(), pconn.Request{}); err != nil {
		return err
	}
	for range 20 {
		ended := make(chan struct{})
		go func() {
			runtime.LockOSThread() // the thread ends with its goroutine
			close(ended)
		}()
		<-ended
	}
	if _, err := child.Do(context.Background(), pconn.Request{}); err != nil {
		return errors.Join(errors.New("it ended with a thread"), err)
	}
	fmt.Println(child.PID())
	select {}
}

// A child does not outlive a parent that is killed, whatever it heeds.
func TestParentIsKilled(t *testing.T) {
	for _, mode := range []string{"serve", "deaf", "deaf and stubborn"} {
		t.Run(mode, func(t *testing.T) {
			childtest.NoLeaks(t)
			cmd := childtest.Command("parent", mode)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var pid int
			_, err = fmt.Fscan(stdout, &pid)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, 0))
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait() // killed
			childtest.AwaitGone(t, pid)
		})
	}
}

// A parent-death signal that the command asks for itself is heeded.
func TestParentDeathSignalOfTheCommand(t *testing.T) {
	childtest.NoLeaks(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := childtest.Command("death signal")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGUSR1}
	child := startCommand(t, nil, cmd)
	resp, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "user defined signal 1", string(resp.Payload))
	require.NoError(t, child.Close())

	child = start(t, nil, "death signal")
	resp, err = child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "killed", string(resp.Payload))
	require.NoError(t, child.Close())
}

// serveDeathSignal tells its parent-death signal.
func serveDeathSignal() error {
	sig, err := deathSignal()
	if err != nil {
		return err
	}
	return endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: pconn.HandlerFunc(
		func(context.Context, *pconn.Request) (pconn.Reply, error) {
			return pconn.Text(syscall.Signal(sig).String()), nil
		})})
}

// A process descriptor that the command asks for stays the command's.
func TestPidfdOfTheCommand(t *testing.T) {
	childtest.NoLeaks(t)
	pidfd := -1
	cmd := childtest.Command("serve")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	child := startCommand(t, nil, cmd)
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, child.Close())
	require.NoError(t, unix.Close(pidfd))
}

// Signals go to the whole group, and to nobody when all is over.
func TestChildSignal(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, nil, "signals")
	resp, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "ready", string(resp.Payload))
	require.NoError(t, child.Signal(syscall.SIGUSR1))
	require.ErrorContains(t, child.Wait(), "exit status 5")
	require.Equal(t, os.ErrProcessDone, child.Signal(syscall.SIGUSR1))
}

// serveUntilSignalled exits with a status of its own at SIGUSR1.
func serveUntilSignalled() error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		<-signals
		os.Exit(5)
	}()
	return endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: pconn.HandlerFunc(
		func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text("ready"), nil })})
}

// A child that has made another group of itself is found nevertheless.
func TestChildLeavesItsGroup(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "other group")
	resp, err := child.Do(t.Context(), pconn.Request{Type: typeInspect})
	require.NoError(t, err)
	require.NotEqual(t, fmt.Sprintf("pid %d pgid %d", child.PID(), child.PID()), string(resp.Payload))
	exit := childtest.ExitOf(t, child.Close())
	require.Equal(t, endpoint.StepTerm, exit.Step)
	require.Equal(t, syscall.SIGTERM, exit.Signal)
}

// What a child has used up is known when it has ended.
func TestExitTellsWhatWasUsed(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, nil, "serve")
	_, err := child.Do(t.Context(), pconn.Request{Type: typeBurn})
	require.NoError(t, err)
	alive := child.Exit()
	require.False(t, alive.Exited)
	require.Equal(t, "still running", alive.String())
	require.NoError(t, child.Close())
	exit := child.Exit()
	require.True(t, exit.Exited)
	require.Equal(t, 0, exit.Code)
	require.Equal(t, endpoint.StepEOF, exit.Step)
	require.GreaterOrEqual(t, exit.CPU, burnTime)
	require.Greater(t, exit.Memory, int64(burnMemory))
	require.Equal(t, "exit status 0", exit.String())
}

// joinOtherGroup leaves its process group for its parent's, and heeds the end of its input no more.
func joinOtherGroup() error {
	group, err := unix.Getpgid(os.Getppid())
	if err != nil {
		return err
	}
	if err := unix.Setpgid(0, group); err != nil {
		return err
	}
	serveIgnoringEOF()
	return nil
}

// deathSignal returns the parent-death signal of the process, which only its first thread knows.
func deathSignal() (sig int32, err error) {
	over := make(chan struct{})
	defer close(over)
	tried := make(chan bool)
	for first := false; !first; first = <-tried {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			first := unix.Gettid() == os.Getpid()
			if first {
				// Syscall keeps sig where it is. Prctl is a function as any other, whose call may move the stack.
				if _, _, errno := syscall.Syscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0); errno != 0 {
					err = errno
				}
			}
			tried <- first
			<-over // it keeps its thread, so that the next one has another
		}()
	}
	return sig, err
}
