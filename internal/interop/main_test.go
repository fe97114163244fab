//go:build unix

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// childVariable names, in the environment of the test binary, what it is to do instead of testing.
const childVariable = "PACKETSTREAM_TEST_CHILD"

func TestMain(m *testing.M) {
	child := os.Getenv(childVariable)
	run := memoryChildren[child]
	if child == pythonChild {
		run = servePython
	}
	if run != nil {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(cleanUp))
}

// cleanUp removes the command, if a test built it.
func cleanUp(code int) {
	if path := built.Load(); path != nil {
		_ = os.RemoveAll(filepath.Dir(*path))
	}
	os.Exit(code)
}
