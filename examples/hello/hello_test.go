package hello_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHello(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "./host", "./helper").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command(filepath.Join(dir, "host"), filepath.Join(dir, "helper")).CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "hello Ada, happy Monday <nil>\n", string(out))
}

// A helper that is not there is said so, and nothing hangs.
func TestHelloWithoutHelper(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "./host").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command(filepath.Join(dir, "host"), filepath.Join(dir, "absent")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "no such file")
}
