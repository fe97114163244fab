//go:build linux

package endpoint_test

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestMain(m *testing.M) {
	if mode := childtest.Mode(); mode != "" {
		os.Exit(helper(mode, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// start starts a helper as a child that is closed, whatever became of it, when the test ends.
func start(t testing.TB, opts *endpoint.StartOptions, mode string, args ...string) *endpoint.Child {
	t.Helper()
	return startCommand(t, opts, childtest.Command(mode, args...))
}

func startCommand(t testing.TB, opts *endpoint.StartOptions, cmd *exec.Cmd) *endpoint.Child {
	t.Helper()
	if cmd.Stderr == nil {
		cmd.Stderr = io.Discard
	}
	child, err := endpoint.Start(t.Context(), cmd, opts)
	require.NoError(t, err)
	t.Cleanup(func() { child.Close() })
	return child
}

// short are durations that tests have time for.
func short(conn pconn.Options) *endpoint.StartOptions {
	return &endpoint.StartOptions{
		Conn: conn,
		Stop: endpoint.Stop{EOF: 300 * time.Millisecond, Term: 300 * time.Millisecond, Kill: 300 * time.Millisecond},
	}
}
