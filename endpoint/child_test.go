//go:build linux

package endpoint_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

func TestChildBothWays(t *testing.T) {
	childtest.NoLeaks(t)
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
	childtest.NoLeaks(t)
	child := start(t, nil, "serve")
	got, err := pconn.Call[[]int, []int](t.Context(), child, typeEcho, []int{1, 2})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, got)
}

// A print of the helper goes to standard error, and its standard input is empty.
func TestChildStrayPrint(t *testing.T) {
	childtest.NoLeaks(t)
	var out syncbuf.Buffer
	cmd := childtest.Command("serve")
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
	childtest.NoLeaks(t)
	child := start(t, nil, "serve")
	hanging, err := child.Submit(t.Context(), pconn.Request{Type: typeHang})
	require.NoError(t, err)
	_, err = child.Do(t.Context(), pconn.Request{Type: typeExit, Flags: 3, Payload: []byte("first line\nlast words\n")})
	_, hangErr := hanging.Wait(t.Context())
	require.Same(t, err, hangErr, "the end is one value for everybody")
	exit := childtest.ExitOf(t, err)
	require.True(t, exit.Exited)
	require.Equal(t, 3, exit.Code)
	require.Nil(t, exit.Signal)
	require.Equal(t, "first line\nlast words\n", string(exit.Stderr))
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, `last words"`)
	require.Equal(t, 3, childtest.ExitOf(t, child.Wait()).Code)
	require.Equal(t, 3, childtest.ExitOf(t, child.Close()).Code)
	_, err = child.Do(t.Context(), pconn.Request{})
	require.Same(t, exit, err, "and for those who come later")
}

func TestChildKilledWithCallsOutstanding(t *testing.T) {
	childtest.NoLeaks(t)
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
		exit := childtest.ExitOf(t, err)
		require.Equal(t, syscall.SIGKILL, exit.Signal)
		require.Equal(t, -1, exit.Code)
		require.ErrorContains(t, err, "signal: killed")
		require.ErrorContains(t, err, "about to die")
	}
	require.Error(t, child.Wait())
	require.Equal(t, endpoint.StepNone, childtest.ExitOf(t, child.Close()).Step)
}

func TestStartFails(t *testing.T) {
	childtest.NoLeaks(t)
	plain := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, os.WriteFile(plain, []byte("x"), 0o600))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	withInput := exec.Command(plain)
	withInput.Stdin = strings.NewReader("")
	otherGroup := childtest.Command("serve")
	otherGroup.SysProcAttr = &syscall.SysProcAttr{Pgid: os.Getpid()}

	for name, test := range map[string]struct {
		ctx  context.Context
		cmd  *exec.Cmd
		opts *endpoint.StartOptions
		is   error
		text string
	}{
		"not there":      {cmd: exec.Command("/no/such/program"), is: fs.ErrNotExist, text: "/no/such/program"},
		"not in path":    {cmd: exec.Command("no-such-program-anywhere"), is: exec.ErrNotFound, text: "no-such-program-anywhere"},
		"not executable": {cmd: exec.Command(plain), is: fs.ErrPermission, text: plain},
		"context ended":  {ctx: ended, cmd: childtest.Command("serve"), is: context.Canceled},
		"no command":     {text: "no command"},
		"input set":      {cmd: withInput, text: "must not be set"},
		"other group":    {cmd: otherGroup, text: "Pgid"},
		"bad durations":  {cmd: childtest.Command("serve"), opts: &endpoint.StartOptions{Stop: endpoint.Stop{Kill: 2 * endpoint.MaxStop}}, text: "Stop.Kill"},
		"bad connection": {cmd: childtest.Command("serve"), opts: &endpoint.StartOptions{Conn: pconn.Options{Grace: -1}}, text: "Grace"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := test.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			before := childtest.Descriptors(t)
			child, err := endpoint.Start(ctx, test.cmd, test.opts)
			require.Nil(t, child)
			require.Error(t, err)
			require.Empty(t, childtest.Children(t))
			require.Len(t, childtest.Descriptors(t), len(before))
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.ErrorContains(t, err, test.text)
		})
	}
}

// The context of Start is not the child's.
func TestStartContextLimitsTheStartOnly(t *testing.T) {
	childtest.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := childtest.Command("serve")
	child, err := endpoint.Start(ctx, cmd, nil)
	require.NoError(t, err)
	cancel()
	_, err = child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, child.Close())
}

// A command with a context of its own is killed at its end, and the error says so.
func TestChildOfCommandContext(t *testing.T) {
	childtest.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	plain := childtest.Command("serve")
	cmd := exec.CommandContext(ctx, plain.Path)
	cmd.Env = plain.Env
	child := startCommand(t, nil, cmd)
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	cancel()
	require.Equal(t, syscall.SIGKILL, childtest.ExitOf(t, child.Wait()).Signal)
}
