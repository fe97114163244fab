//go:build unix

package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/livepeer"
)

// faces are the two ways in which clients/python/packetstream.py is used.
var faces = []string{"threads", "asyncio"}

// pythonFile is a program of clients/python, and any interpreter that there is.
func pythonFile(t *testing.T, program string, args ...string) []string {
	t.Helper()
	path, err := filepath.Abs("../../clients/python/" + program)
	require.NoError(t, err)
	return append([]string{livepeer.Python(t, "packetstream-20240630"), "-B", path}, args...)
}

// What the Python file tests for itself: the codec against the vectors, the states of streams, bad input, both faces, and
// that it is Python 3.9.
func TestPythonFileUnits(t *testing.T) {
	t.Parallel()
	p := start(t, pythonFile(t, "test_packetstream.py", "-v"))
	require.NoError(t, p.finish())
	require.Regexp(t, `(?m)^Ran \d{2,} tests`, p.stderr.String())
	require.NotContains(t, p.stderr.String(), "skipped")
	require.NotContains(t, p.stderr.String(), "Traceback")
}

// The host and the helper that the Python file's README shows.
func TestPythonFileReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../clients/python/README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)\n```python\n(.*?)```\n").FindAllSubmatch(text, -1)
	require.Len(t, blocks, 3)
	dir := t.TempDir()
	for i, name := range []string{"helper.py", "host.py"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), blocks[i][1], 0o600))
	}
	file, err := filepath.Abs("../../clients/python")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, livepeer.Python(t, "packetstream-20240630"), "-B", "host.py")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PYTHONPATH="+file, "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "hello Ada, happy Monday\n", string(out))
}

// Our checks call the Python file, and are called back.
func TestPythonFileServes(t *testing.T) {
	for _, face := range faces {
		for _, mode := range modes {
			t.Run(face+"/"+mode, func(t *testing.T) {
				t.Parallel()
				check := []string{packetstream(t), "check", "--mode", mode, "--requests", "300"}
				require.NoError(t, overStdio(t, check, pythonFile(t, "testdata/service.py", "--face", face)))
			})
		}
	}
}

// The Python file calls us, and is called back: everything, extensions included.
func TestPythonFileCalls(t *testing.T) {
	for _, face := range faces {
		for _, mode := range modes {
			t.Run(face+"/"+mode, func(t *testing.T) {
				t.Parallel()
				self, err := os.Executable()
				require.NoError(t, err)
				args := pythonFile(t, "testdata/drive.py", "--face", face, "--mode", mode, "--requests", "300", "--",
					"/usr/bin/env", childVariable+"="+pythonChild, self)
				finishDrive(t, start(t, args))
			})
		}
	}
}

// The Python file calls itself, each face the other.
func TestPythonFileAlone(t *testing.T) {
	for i, face := range faces {
		t.Run(face, func(t *testing.T) {
			t.Parallel()
			args := pythonFile(t, "testdata/drive.py", "--face", face, "--mode", "duplex", "--")
			finishDrive(t, start(t, append(args, pythonFile(t, "testdata/service.py", "--face", faces[1-i])...)))
		})
	}
}

// finishDrive waits for a drive.py, and sees that it has checked.
func finishDrive(t *testing.T, p *process) {
	t.Helper()
	require.NoError(t, driveError(p))
}

func driveError(p *process) error {
	if err := p.finish(); err != nil {
		return err
	}
	text := p.stdout.String()
	if n := strings.Count(text, "ok "); n < 20 || !strings.HasSuffix(text, "\n0 failed\n") {
		return fmt.Errorf("%d good checks, in %s", n, text)
	}
	return nil
}

// The Python file and the reference, either calling the other, and called back; also where the file offers extensions,
// which the reference rejects.
func TestPythonFileAndReference(t *testing.T) {
	for _, release := range releases {
		for _, face := range faces {
			extensions := "lazy"
			if face == "asyncio" {
				extensions = "offer"
			}
			t.Run(release+"/"+face+"/"+extensions, func(t *testing.T) {
				t.Parallel()
				service := pythonFile(t, "testdata/service.py", "--face", face, "--extensions", extensions)
				client := append(peer(t, release, "client.py"), "--mode", "duplex", "--grace", "0", "--requests", "100", "--timeout", "60", "--")
				withReference(t, release, func() error {
					p := start(t, slices.Concat(client, service))
					if err := p.finish(); err != nil {
						return err
					}
					require.Contains(t, p.stdout.String(), release+": 0 failed\n")
					return nil
				})
				drive := pythonFile(t, "testdata/drive.py", "--face", face, "--extensions", extensions, "--plain", "--mode", "duplex", "--requests", "100", "--")
				server := append(peer(t, release, "server.py"), "--grace", "0", "--verbose")
				withReference(t, release, func() error { return driveError(start(t, slices.Concat(drive, server))) })
			})
		}
	}
}
