//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestChildExitsAtOnce(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, nil, "exit", "4")
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 4, exit.Code)
	require.Equal(t, "exiting at once\n", string(exit.Stderr))
}

// A child that exits with status 0 and no EOF packet has ended in good order, for who does not wait for an answer.
func TestChildExitsWell(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, nil, "exit", "0")
	require.NoError(t, child.Wait())
	require.NoError(t, child.Close())
	require.ErrorIs(t, child.Err(), pconn.ErrPeerClosed)
	require.ErrorContains(t, child.Err(), "exit status 0")
}

func TestChildPrintsTextFirst(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "text")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.False(t, childtest.ExitOf(t, err).Exited)
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Contains(t, string(perr.Quote), "Welcome to the machine")
	require.NoError(t, child.Close(), "it ends well at the end of its input")
	require.ErrorIs(t, child.Wait(), err)
}

func TestChildPrintsTextAndExits(t *testing.T) {
	childtest.NoLeaks(t)
	child := startCommand(t, nil, exec.Command("/bin/sh", "-c", "echo Usage: helper FILE; echo no file >&2; exit 64"))
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 64, exit.Code)
	require.Equal(t, "no file\n", string(exit.Stderr))
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Contains(t, string(perr.Quote), "Usage: helper")
}

func TestChildClosesItsOutputOnly(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, short(pconn.Options{}), "serve")
	begin := time.Now()
	_, err := child.Do(t.Context(), pconn.Request{Type: typeShut})
	exit := childtest.ExitOf(t, err)
	require.False(t, exit.Exited)
	require.ErrorContains(t, err, "still running")
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.Less(t, time.Since(begin), 5*time.Second)
	child.Close()
}

// A child that takes nothing any more, and may live on.
func TestChildClosesItsInputOnly(t *testing.T) {
	childtest.NoLeaks(t)
	child := startCommand(t, short(pconn.Options{}), exec.Command("/bin/sh", "-c", "exec sleep 60 <&-"))
	var err error
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = child.Do(ctx, pconn.Request{})
		return !errors.Is(err, context.DeadlineExceeded)
	}, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, err, pconn.ErrPeerGone)
	require.False(t, childtest.ExitOf(t, err).Exited)
	require.ErrorIs(t, child.Wait(), pconn.ErrPeerGone, "it is stopped")
	require.Equal(t, endpoint.StepTerm, childtest.ExitOf(t, child.Close()).Step)
}

// A child that ends in good order is answered at once if nobody waits for it, and else asked for its reason.
func TestChildSaysGoodbye(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, nil, "goodbye", "6")
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.Equal(t, 6, exit.Code)
	require.Equal(t, "goodbye\n", string(exit.Stderr))
	require.Equal(t, 6, childtest.ExitOf(t, child.Wait()).Code)

	child = start(t, nil, "goodbye", "0")
	require.NoError(t, child.Notify(t.Context(), pconn.Request{}))
	require.NoError(t, child.Wait())
	require.ErrorIs(t, child.Err(), pconn.ErrPeerClosed)
}

// One that has sent EOF, and then waits for the end of its own input, is sent that at once, and its exit is known.
func TestChildSaysGoodbyeAndWaits(t *testing.T) {
	childtest.NoLeaks(t)
	for name, closes := range map[string]string{"keeps its output": "", "closes its output": "exec >&-; "} {
		t.Run(name, func(t *testing.T) {
			script := `head -c 1 >/dev/null; printf '\003\000\002\000'; ` + closes + `cat >/dev/null; echo done >&2; exit 6`
			child := startCommand(t, nil, exec.Command("/bin/sh", "-c", script))
			_, err := child.Do(t.Context(), pconn.Request{Payload: []byte("x")})
			exit := childtest.ExitOf(t, err)
			require.Equal(t, 6, exit.Code)
			require.Equal(t, "done\n", string(exit.Stderr))
			require.ErrorIs(t, err, pconn.ErrPeerClosed)
			require.Equal(t, 6, childtest.ExitOf(t, child.Close()).Code)
		})
	}

	child := startCommand(t, nil, exec.Command("/bin/sh", "-c", `printf '\003\000\002\000'; cat >/dev/null`))
	require.NoError(t, child.Wait())
	require.Equal(t, pconn.ErrPeerClosed, child.Err(), "nothing is to be explained")
}

// A handler that works for a child that has exited is told so.
func TestChildExitsWhileAsking(t *testing.T) {
	childtest.NoLeaks(t)
	causes := make(chan error, 1)
	begin := time.Now()
	child := start(t, &endpoint.StartOptions{Conn: pconn.Options{Handler: pconn.HandlerFunc(
		func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return pconn.None(), nil
		})}}, "ask and exit")
	require.NoError(t, child.Wait())
	require.Less(t, time.Since(begin), 4*time.Second)
	require.Error(t, <-causes)
}

// A handler may end the child that called it.
func TestHandlerEndsTheChild(t *testing.T) {
	for name, end := range map[string]func(context.Context, *endpoint.Child) error{
		"Close":    func(_ context.Context, c *endpoint.Child) error { return c.Close() },
		"Shutdown": func(ctx context.Context, c *endpoint.Child) error { return c.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			childs := make(chan *endpoint.Child, 1)
			ended := make(chan error, 1)
			child := start(t, &endpoint.StartOptions{Conn: pconn.Options{Handler: pconn.HandlerFunc(
				func(_ context.Context, _ *pconn.Request) (pconn.Reply, error) {
					ended <- end(context.Background(), <-childs)
					return pconn.None(), nil
				})}}, "serve")
			childs <- child
			_, err := child.Do(t.Context(), pconn.Request{Type: typeBack})
			if name == "Close" {
				require.ErrorIs(t, err, pconn.ErrClosed)
			} else {
				require.NoError(t, err)
			}
			require.NoError(t, <-ended)
			require.NoError(t, child.Wait())
		})
	}
}

// The user's own EndError sees the child's, and has the last word.
func TestChildEndErrorOfTheUser(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, &endpoint.StartOptions{Conn: pconn.Options{EndError: func(err error) error {
		return fmt.Errorf("mine: %w", err)
	}}}, "exit", "5")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.ErrorContains(t, err, "mine: endpoint: child")
	require.Equal(t, 5, childtest.ExitOf(t, err).Code)
}
