//go:build unix

package interop

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// startPeer starts a program as a child of a connection, with a bound for all that is done with it.
func startPeer(t *testing.T, args []string) (context.Context, *endpoint.Child) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	t.Cleanup(cancel)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = io.Discard
	child, err := endpoint.Start(ctx, cmd, nil)
	require.NoError(t, err)
	return ctx, child
}

// A reference peer that is killed with requests at work: every caller is told how it ended.
func TestLiveReferenceKilled(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			ctx, child := startPeer(t, append(peer(t, release, "server.py"), "--grace", "0"))
			resp, err := child.Do(ctx, pconn.Request{Type: testservice.Pair, Flags: 7, Payload: []byte("x")})
			require.NoError(t, err)
			require.Equal(t, pconn.Response{OK: true, Flags: 7, Payload: []byte("x")}, resp)

			var results []*pconn.Result
			for range 3 { // it has four threads
				r, err := child.Submit(ctx, pconn.Request{Type: testservice.Sleep, Payload: []byte("60000")})
				require.NoError(t, err)
				results = append(results, r)
			}
			// An answer behind them says that they have been read.
			_, err = child.Do(ctx, pconn.Request{Type: testservice.None})
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
			for _, r := range results {
				_, err := r.Wait(ctx)
				var exit *endpoint.ExitError
				require.ErrorAs(t, err, &exit)
				require.ErrorContains(t, err, "signal: killed")
			}
			_, err = child.Do(ctx, pconn.Request{})
			require.ErrorContains(t, err, "signal: killed")
			require.Error(t, child.Close())
		})
	}
}

// python is the text of a program for the reference's interpreter that may go on as the server.
func python(t *testing.T, release, text string) []string {
	server := peer(t, release, "server.py")
	return []string{server[0], "-B", "-c", "import runpy, sys, os\n" + text, server[2]}
}

const goOnAsServer = `
sys.path.insert(0, os.path.dirname(sys.argv[1]))
server = sys.argv[1]
sys.argv = [server, '--grace', '0']
runpy.run_path(server, run_name='__main__')
`

// A peer that prints before it speaks packets: the error quotes what it printed.
func TestLiveReferencePrintsFirst(t *testing.T) {
	for name, text := range map[string]string{
		"and exits":       "print('Welcome to the server')",
		"and speaks":      "print('Welcome to the server', flush=True)\n" + goOnAsServer,
		"short and exits": "print('hi')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, child := startPeer(t, python(t, releases[1], text))
			_, err := child.Do(ctx, pconn.Request{Type: testservice.None})
			var perr *pconn.ProtocolError
			require.ErrorAs(t, err, &perr)
			require.Regexp(t, "^(Welcome to the server|hi)", string(perr.Quote))
			require.ErrorIs(t, child.Err(), perr)
			_ = child.Close() // its exit status is not what is tested
		})
	}
}

// A peer that ends at once, in its three ways.
func TestLiveReferenceEndsAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		check func(t *testing.T, err error)
	}{
		"exit 0":      {"", func(t *testing.T, err error) { require.ErrorIs(t, err, pconn.ErrPeerClosed) }},
		"exit 3":      {"sys.exit(3)", func(t *testing.T, err error) { require.ErrorContains(t, err, "exit status 3") }},
		"exception":   {"raise ValueError('no such thing')", func(t *testing.T, err error) { require.ErrorContains(t, err, "no such thing") }},
		"closes both": {"os.close(0); os.close(1)", func(t *testing.T, err error) { require.Error(t, err) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, child := startPeer(t, python(t, releases[1], c.text))
			_, err := child.Do(ctx, pconn.Request{Type: testservice.None})
			require.False(t, errors.Is(err, context.DeadlineExceeded), "the caller was left waiting")
			c.check(t, err)
			began := time.Now()
			_ = child.Close()
			require.Less(t, time.Since(began), 10*time.Second)
		})
	}
}

// A reference client that is killed in the middle leaves no server of ours behind.
func TestLiveReferenceClientKilled(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			args := append(peer(t, release, "client.py"), "--mode", "duplex", "--requests", "1000000", "--grace", "0", "--",
				packetstream(t), "serve", "--handler", "test")
			p := start(t, args)
			p.WaitDelay = childLimit
			require.Eventually(t, func() bool { return strings.Contains(p.stdout.String(), "4 sleeps") }, childLimit, 5*time.Millisecond)
			require.NoError(t, p.Process.Kill())
			began := time.Now()
			// The server holds our end of standard error: Wait returns when it has exited too.
			require.ErrorContains(t, p.Wait(), "signal: killed")
			require.Less(t, time.Since(began), 20*time.Second)
		})
	}
}
