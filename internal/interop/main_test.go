//go:build unix

package interop

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cleanUp)) }

// cleanUp removes the command, if a test built it.
func cleanUp(code int) {
	if path := built.Load(); path != nil {
		_ = os.RemoveAll(filepath.Dir(*path))
	}
	os.Exit(code)
}
