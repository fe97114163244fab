//go:build linux

package endpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

func TestChildBothWays(t *testing.T) {
	noLeaks(t)
	child := start(t, &endpoint.StartOptions{Conn: pconn.Options{Handler: pconn.HandlerFunc(echo)}}, "serve")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, i*1000)
			resp, err := child.Do(t.Context(), pconn.Request{Type: typeBack, Payload: want})
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(want, resp.Payload))
		})
	}
	wg.Wait()
	resp, err := child.Do(t.Context(), pconn.Request{Type: typeInspect})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("pid %d pgid %d", child.PID(), child.PID()), string(resp.Payload))
	require.Equal(t, child.PID(), child.Peer().PID)
	require.Equal(t, "endpoint.test", child.Name())
	require.NoError(t, child.Shutdown(t.Context()))
	require.NoError(t, child.Wait())
	require.NoError(t, child.Close())
	require.ErrorIs(t, child.Err(), pconn.ErrClosed)
}

func TestChildTyped(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "serve")
	got, err := pconn.Call[[]int, []int](t.Context(), child, typeEcho, []int{1, 2})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, got)
}

// A print of the helper goes to standard error, and its standard input is empty.
func TestChildStrayPrint(t *testing.T) {
	noLeaks(t)
	var out lockedBuffer
	cmd := helperCommand("serve")
	cmd.Stderr = &out
	child := startCommand(t, nil, cmd)
	resp, err := child.Do(t.Context(), pconn.Request{Type: typePrint})
	require.NoError(t, err)
	require.Equal(t, "<nil> <nil> 0 EOF", string(resp.Payload))
	require.NoError(t, child.Close())
	require.Equal(t, "a stray print\nand another\n", out.String())
	require.Equal(t, "a stray print\nand another\n", string(child.Stderr()))
}

func TestChildExitStatus(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "serve")
	hanging, err := child.Submit(t.Context(), pconn.Request{Type: typeHang})
	require.NoError(t, err)
	_, err = child.Do(t.Context(), pconn.Request{Type: typeExit, Flags: 3, Payload: []byte("first line\nlast words\n")})
	_, hangErr := hanging.Wait(t.Context())
	require.Same(t, err, hangErr, "the end is one value for everybody")
	exit := exitErrorOf(t, err)
	require.True(t, exit.Exited)
	require.Equal(t, 3, exit.Code)
	require.Nil(t, exit.Signal)
	require.Equal(t, "first line\nlast words\n", string(exit.Stderr))
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, `last words"`)
	require.Equal(t, 3, exitErrorOf(t, child.Wait()).Code)
	require.Equal(t, 3, exitErrorOf(t, child.Close()).Code)
	_, err = child.Do(t.Context(), pconn.Request{})
	require.Same(t, exit, err, "and for those who come later")
}

func TestChildKilledWithCallsOutstanding(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "serve")
	_, err := child.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: []byte("about to die\n")})
	require.NoError(t, err)
	results := make([]*pconn.Result, 50)
	for i := range results {
		results[i], err = child.Submit(t.Context(), pconn.Request{Type: typeHang})
		require.NoError(t, err)
	}
	require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
	for _, r := range results {
		_, err := r.Wait(t.Context())
		exit := exitErrorOf(t, err)
		require.Equal(t, syscall.SIGKILL, exit.Signal)
		require.Equal(t, -1, exit.Code)
		require.ErrorContains(t, err, "signal: killed")
		require.ErrorContains(t, err, "about to die")
	}
	require.Error(t, child.Wait())
	require.Equal(t, endpoint.StepNone, exitErrorOf(t, child.Close()).Step)
}

func TestStartFails(t *testing.T) {
	noLeaks(t)
	plain := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, os.WriteFile(plain, []byte("x"), 0o600))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	withInput := exec.Command(plain)
	withInput.Stdin = strings.NewReader("")
	otherGroup := helperCommand("serve")
	otherGroup.SysProcAttr = &syscall.SysProcAttr{Pgid: os.Getpid()}

	for name, test := range map[string]struct {
		ctx  context.Context
		cmd  *exec.Cmd
		opts *endpoint.StartOptions
		is   error
		text string
	}{
		"not there":      {cmd: exec.Command("/no/such/program"), is: fs.ErrNotExist},
		"not in path":    {cmd: exec.Command("no-such-program-anywhere"), is: exec.ErrNotFound},
		"not executable": {cmd: exec.Command(plain), is: fs.ErrPermission},
		"context ended":  {ctx: ended, cmd: helperCommand("serve"), is: context.Canceled},
		"no command":     {text: "no command"},
		"input set":      {cmd: withInput, text: "must not be set"},
		"other group":    {cmd: otherGroup, text: "Pgid"},
		"bad durations":  {cmd: helperCommand("serve"), opts: &endpoint.StartOptions{Stop: endpoint.Stop{Kill: 2 * endpoint.MaxStop}}, text: "Stop.Kill"},
		"bad connection": {cmd: helperCommand("serve"), opts: &endpoint.StartOptions{Conn: pconn.Options{Grace: -1}}, text: "Grace"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			child, err := endpoint.Start(ctx, test.cmd, test.opts)
			require.Nil(t, child)
			require.Error(t, err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.ErrorContains(t, err, test.text)
		})
	}
}

// The context of Start is not the child's.
func TestStartContextLimitsTheStartOnly(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := helperCommand("serve")
	child, err := endpoint.Start(ctx, cmd, nil)
	require.NoError(t, err)
	cancel()
	_, err = child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, child.Close())
}

// A command with a context of its own is killed at its end, and the error says so.
func TestChildOfCommandContext(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	plain := helperCommand("serve")
	cmd := exec.CommandContext(ctx, plain.Path)
	cmd.Env = plain.Env
	child := startCommand(t, nil, cmd)
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	cancel()
	require.Equal(t, syscall.SIGKILL, exitErrorOf(t, child.Wait()).Signal)
}

func TestChildExitsAtOnce(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "exit", "4")
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := exitErrorOf(t, err)
	require.Equal(t, 4, exit.Code)
	require.Equal(t, "exiting at once\n", string(exit.Stderr))
}

// A child that exits with status 0 and no EOF packet has ended in good order, for who does not wait for an answer.
func TestChildExitsWell(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "exit", "0")
	require.NoError(t, child.Wait())
	require.NoError(t, child.Close())
	require.ErrorIs(t, child.Err(), pconn.ErrPeerClosed)
	require.ErrorContains(t, child.Err(), "exit status 0")
}

func TestChildPrintsTextFirst(t *testing.T) {
	noLeaks(t)
	child := start(t, short(pconn.Options{}), "text")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.False(t, exitErrorOf(t, err).Exited)
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Contains(t, string(perr.Quote), "Welcome to the machine")
	require.NoError(t, child.Close(), "it ends well at the end of its input")
	require.ErrorIs(t, child.Wait(), err)
}

func TestChildPrintsTextAndExits(t *testing.T) {
	noLeaks(t)
	child := startCommand(t, nil, exec.Command("/bin/sh", "-c", "echo Usage: helper FILE; echo no file >&2; exit 64"))
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := exitErrorOf(t, err)
	require.Equal(t, 64, exit.Code)
	require.Equal(t, "no file\n", string(exit.Stderr))
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Contains(t, string(perr.Quote), "Usage: helper")
}

// What the child floods its standard error with is read, and its last part kept, though the writer it is handed to
// takes nothing.
func TestChildFloodsStderr(t *testing.T) {
	noLeaks(t)
	stuck := newStuckWriter()
	defer stuck.release()
	cmd := helperCommand("serve")
	cmd.Stderr = stuck
	child := startCommand(t, nil, cmd)
	flood := append(bytes.Repeat([]byte("0123456789abcde\n"), 256<<10), "the end"...)
	_, err := child.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: flood})
	require.NoError(t, err)
	require.NoError(t, child.Close())
	require.Equal(t, flood[len(flood)-64<<10:], child.Stderr())
}

// A writer that keeps up gets everything.
func TestChildStderrIsHandedOn(t *testing.T) {
	noLeaks(t)
	var out lockedBuffer
	cmd := helperCommand("serve")
	cmd.Stderr = &out
	child := startCommand(t, nil, cmd)
	flood := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10)
	_, err := child.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: flood})
	require.NoError(t, err)
	require.NoError(t, child.Close())
	require.True(t, out.String() == string(flood))
}

func TestChildClosesItsOutputOnly(t *testing.T) {
	noLeaks(t)
	child := start(t, short(pconn.Options{}), "serve")
	begin := time.Now()
	_, err := child.Do(t.Context(), pconn.Request{Type: typeShut})
	exit := exitErrorOf(t, err)
	require.False(t, exit.Exited)
	require.ErrorContains(t, err, "still running")
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.Less(t, time.Since(begin), 5*time.Second)
	child.Close()
}

// A child that takes nothing any more, and may live on.
func TestChildClosesItsInputOnly(t *testing.T) {
	noLeaks(t)
	child := startCommand(t, short(pconn.Options{}), exec.Command("/bin/sh", "-c", "exec sleep 60 <&-"))
	var err error
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = child.Do(ctx, pconn.Request{})
		return !errors.Is(err, context.DeadlineExceeded)
	}, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, err, pconn.ErrPeerGone)
	require.False(t, exitErrorOf(t, err).Exited)
	require.ErrorIs(t, child.Wait(), pconn.ErrPeerGone, "it is stopped")
	require.Equal(t, endpoint.StepTerm, exitErrorOf(t, child.Close()).Step)
}

// A child that ends in good order is answered at once if nobody waits for it, and else asked for its reason.
func TestChildSaysGoodbye(t *testing.T) {
	noLeaks(t)
	child := start(t, nil, "goodbye", "6")
	_, err := child.Do(t.Context(), pconn.Request{})
	exit := exitErrorOf(t, err)
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.Equal(t, 6, exit.Code)
	require.Equal(t, "goodbye\n", string(exit.Stderr))
	require.Equal(t, 6, exitErrorOf(t, child.Wait()).Code)

	child = start(t, nil, "goodbye", "0")
	require.NoError(t, child.Notify(t.Context(), pconn.Request{}))
	require.NoError(t, child.Wait())
	require.ErrorIs(t, child.Err(), pconn.ErrPeerClosed)
}

// One that has sent EOF, and then waits for the end of its own input, is sent that at once, and its exit is known.
func TestChildSaysGoodbyeAndWaits(t *testing.T) {
	noLeaks(t)
	for name, closes := range map[string]string{"keeps its output": "", "closes its output": "exec >&-; "} {
		t.Run(name, func(t *testing.T) {
			script := `head -c 1 >/dev/null; printf '\003\000\002\000'; ` + closes + `cat >/dev/null; echo done >&2; exit 6`
			child := startCommand(t, nil, exec.Command("/bin/sh", "-c", script))
			_, err := child.Do(t.Context(), pconn.Request{Payload: []byte("x")})
			exit := exitErrorOf(t, err)
			require.Equal(t, 6, exit.Code)
			require.Equal(t, "done\n", string(exit.Stderr))
			require.ErrorIs(t, err, pconn.ErrPeerClosed)
			require.Equal(t, 6, exitErrorOf(t, child.Close()).Code)
		})
	}

	child := startCommand(t, nil, exec.Command("/bin/sh", "-c", `printf '\003\000\002\000'; cat >/dev/null`))
	require.NoError(t, child.Wait())
	require.Equal(t, pconn.ErrPeerClosed, child.Err(), "nothing is to be explained")
}

// A handler that works for a child that has exited is told so.
func TestChildExitsWhileAsking(t *testing.T) {
	noLeaks(t)
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
			noLeaks(t)
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
	noLeaks(t)
	child := start(t, &endpoint.StartOptions{Conn: pconn.Options{EndError: func(err error) error {
		return fmt.Errorf("mine: %w", err)
	}}}, "exit", "5")
	_, err := child.Do(t.Context(), pconn.Request{})
	require.ErrorContains(t, err, "mine: endpoint: child")
	require.Equal(t, 5, exitErrorOf(t, err).Code)
}

// lockedBuffer is a bytes.Buffer for two goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// stuckWriter takes nothing until it is released.
type stuckWriter struct {
	released chan struct{}
}

func newStuckWriter() *stuckWriter { return &stuckWriter{make(chan struct{})} }

func (w *stuckWriter) release() { close(w.released) }

func (w *stuckWriter) Write(_ []byte) (int, error) {
	<-w.released
	return 0, io.ErrClosedPipe
}
