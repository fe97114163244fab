package plugin_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "./host", "./plugin").CombinedOutput()
	require.NoError(t, err, string(out))
	host := exec.Command(filepath.Join(dir, "host"), filepath.Join(dir, "plugin"))
	var stderr strings.Builder
	host.Stderr = &stderr
	said, err := host.Output()
	require.NoError(t, err, stderr.String())
	require.Equal(t, strings.Repeat("A pipe is that which has two ends, like any pipe. <nil>\nUnavailable\n", 2), string(said))
	require.Equal(t, 2, strings.Count(stderr.String(), "asked for pipe"))
}
