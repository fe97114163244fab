//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestStopLadder(t *testing.T) {
	for name, test := range map[string]struct {
		mode string
		step endpoint.Step
		sig  os.Signal
		text string
	}{
		"ignores the end of its input": {"deaf", endpoint.StepTerm, syscall.SIGTERM, "stopped by SIGTERM"},
		"ignores SIGTERM too":          {"deaf and stubborn", endpoint.StepKill, syscall.SIGKILL, "stopped by SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			child := start(t, short(pconn.Options{}), test.mode)
			_, err := child.Do(t.Context(), pconn.Request{})
			require.NoError(t, err)
			begin := time.Now()
			err = child.Close()
			require.Less(t, time.Since(begin), 5*time.Second)
			exit := childtest.ExitOf(t, err)
			require.Equal(t, test.step, exit.Step)
			require.Equal(t, test.sig, exit.Signal)
			require.ErrorContains(t, err, test.text)
			require.Equal(t, err.Error(), child.Close().Error())
		})
	}
}

// A child that is stopped is told of SIGTERM nevertheless, and with no time to spare is killed.
func TestCloseOfStoppedChild(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{CloseTimeout: 300 * time.Millisecond}), "serve")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(child.PID(), syscall.SIGSTOP))
	childtest.AwaitState(t, child.PID(), "T")
	require.Equal(t, endpoint.StepTerm, childtest.ExitOf(t, child.Close()).Step)

	child = start(t, &endpoint.StartOptions{Stop: endpoint.Stop{EOF: -1, Term: -1}}, "deaf and stubborn")
	_, err = child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, endpoint.StepKill, childtest.ExitOf(t, child.Close()).Step)
}

// What a child leaves in its group goes with it, and holds up nobody who waits for an answer.
func TestGrandchildHoldsThePipes(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "grandchild", "group")
	begin := time.Now()
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 0, exit.Code)
	require.Contains(t, exit.Error(), "held open by a process that it started")
	require.NoError(t, errors.Unwrap(child.Close()))
	require.Less(t, time.Since(begin), 8*time.Second)
	childtest.AwaitGone(t, grandchildOf(t, child))
}

// One that has left the group is left alone, holds up nobody, and the error tells of it.
func TestGrandchildInASessionOfItsOwn(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "grandchild", "session")
	begin := time.Now()
	err := child.Wait()
	require.Less(t, time.Since(begin), 8*time.Second)
	require.ErrorContains(t, err, "held open by a process that it started")
	err = child.Close()
	exit := childtest.ExitOf(t, err)
	require.True(t, exit.Held)
	require.Equal(t, endpoint.StepNone, exit.Step)
	require.ErrorContains(t, err, "still holds its pipes")
	pid := grandchildOf(t, child)
	require.NoError(t, syscall.Kill(pid, 0), "it was killed")
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	childtest.AwaitGone(t, pid)
}

func grandchildOf(t *testing.T, child *endpoint.Child) int {
	t.Helper()
	var pid int
	_, err := fmt.Sscanf(string(child.Stderr()), "grandchild %d\n", &pid)
	require.NoError(t, err)
	return pid
}

func TestShutdownOfChildEndsWithItsContext(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "deaf")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, child.Shutdown(ctx))
	require.Equal(t, endpoint.StepTerm, childtest.ExitOf(t, child.Close()).Step)
}
