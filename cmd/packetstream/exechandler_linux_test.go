package main

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// A command that is at work when its connection closes is killed, with what it started.
func TestServeExecKilledWithConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		end      func(*testing.T, *server, *endpoint.Conn)
		allGoing bool // what the command started, too
	}{
		"server closes": {func(t *testing.T, s *server, _ *endpoint.Conn) {
			s.signal(t, syscall.SIGTERM)
			s.awaitRefusal(t)
			s.signal(t, syscall.SIGTERM)
		}, true},
		"peer is gone": {func(_ *testing.T, _ *server, c *endpoint.Conn) { _ = c.Close() }, true},
		// Nobody is left to kill what the command started.
		"server is killed": {func(t *testing.T, s *server, _ *endpoint.Conn) { s.signal(t, syscall.SIGKILL) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := fmt.Sprintf("exec:trap '' TERM; sleep 20 & echo $! > %s/child; echo $$ > %[1]s/itself; touch %[1]s/at-work; wait", dir)
			s := serveAt(t, "unix:"+filepath.Join(dir, "s"), "--handler", script)
			c := dial(t, s.at)
			_, err := c.Submit(deadline(t), pconn.Request{})
			require.NoError(t, err)
			waitForFile(t, dir+"/at-work")
			require.True(t, aliveIn(t, dir+"/itself"))
			tc.end(t, s, c)
			eventually(t, "the command is gone", func() bool { return !aliveIn(t, dir+"/itself") })
			eventually(t, "its child is gone", func() bool { return !tc.allGoing || !aliveIn(t, dir+"/child") })
			if !tc.allGoing {
				killIn(t, dir+"/child")
			}
		})
	}
}
