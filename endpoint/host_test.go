//go:build linux

package endpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// Whatever this process's own descriptors are, its children work.
func TestHostWithOddDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	terminal, other := openTerminal(t)
	defer terminal.Close()
	defer other.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(t, err)
	defer null.Close()
	for name, stdio := range map[string]*os.File{"file": file, "terminal": terminal, "null device": null} {
		t.Run(name, func(t *testing.T) {
			cmd := childtest.Command("host")
			cmd.Stdin, cmd.Stdout = stdio, stdio
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Run(), stderr.String())
		})
	}
	for name, script := range map[string]string{
		"closed at the start": `exec "$0" <&- >&-`,
		"all closed":          `exec "$0" <&- >&- 2>&-`,
		"closed by itself":    `exec "$0" close`,
	} {
		t.Run(name, func(t *testing.T) {
			cmd := childtest.Command("host")
			cmd.Args = []string{"/bin/sh", "-c", script, cmd.Path}
			cmd.Path = "/bin/sh"
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Run(), stderr.String())
		})
	}
}

// Standard error is passed through to this process's, if nothing else is said.
func TestStderrIsPassedThrough(t *testing.T) {
	childtest.NoLeaks(t)
	cmd := childtest.Command("host")
	cmd.Env = append(cmd.Env, pconn.TraceVariable+"=stderr")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Run())
	require.Contains(t, stderr.String(), " stdio: < ", "the child's trace")
	require.Contains(t, stderr.String(), " endpoint.test > ", "the host's own")
}

// The child's ends of the pipes block, ours do not, and it has no other descriptor.
func TestChildDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	out := filepath.Join(t.TempDir(), "out")
	child := start(t, nil, "descriptors", out)
	require.NoError(t, child.Wait())
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "0 pipe blocks\n1 pipe blocks\n2 pipe blocks\n", string(b))
}

func TestManyChildren(t *testing.T) { startAndStop(t, 40) }

// startAndStop starts and stops so many children, after which nothing has grown.
func startAndStop(t *testing.T, n int) {
	childtest.NoLeaks(t)
	// A process of its own, so that other tests' descriptors do not disturb.
	text, code := output(childtest.Command("many", strconv.Itoa(n)))
	require.Equal(t, 0, code, text)
	t.Log(text)
}
