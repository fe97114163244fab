//go:build linux

package endpoint

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Another program's socket that has taken the place of a stale one, at the last moment, stays and stays where it is.
func TestUnixStaleSocketReplaced(t *testing.T) {
	e := Unix{Path: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", e.Path)
	require.NoError(t, err)
	defer l.Close()
	before, err := os.Lstat(e.Path)
	require.NoError(t, err)
	require.ErrorIs(t, e.removeAside(t.Context()), syscall.EADDRINUSE)
	after, err := os.Lstat(e.Path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	entries, err := os.ReadDir(filepath.Dir(e.Path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left")

	require.NoError(t, os.Remove(e.Path))
	require.NoError(t, e.removeAside(t.Context()), "it has gone by itself")
}
