package livepeer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// skipper records the skip that a test would have made.
type skipper struct {
	testing.TB
	message string
}

func (s *skipper) Helper() {}

func (s *skipper) Skipf(format string, args ...any) {
	s.message = fmt.Sprintf(format, args...)
	panic(s)
}

// skipOf calls f and returns the message with which it skipped, if it did.
func skipOf(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	s := &skipper{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != s {
				panic(r)
			}
		}()
		f(s)
	}()
	return s.message
}

func TestPeerThatIsThere(t *testing.T) {
	peers := t.TempDir()
	t.Setenv("PACKETSTREAM_PEERS", peers)
	python := filepath.Join(peers, "snake", "bin", "python")
	require.NoError(t, os.MkdirAll(filepath.Dir(python), 0o755))
	require.NoError(t, os.WriteFile(python, nil, 0o755))
	assert.Equal(t, filepath.Join(peers, "snake"), Dir(t, "snake"))
	assert.Equal(t, python, Python(t, "snake"))
}

func TestPeerThatIsAbsent(t *testing.T) {
	peers := t.TempDir()
	t.Setenv("PACKETSTREAM_PEERS", peers)
	dir := func(t testing.TB) { Dir(t, "snake") }
	python := func(t testing.TB) { Python(t, "snake") }

	assert.Equal(t, "live peer absent: snake: not made yet: make test makes it, or a script in scripts/peers", skipOf(t, dir))

	require.NoError(t, os.WriteFile(filepath.Join(peers, "snake.absent"), []byte("no Python\n"), 0o644))
	assert.Equal(t, "live peer absent: snake: no Python", skipOf(t, dir))
	assert.Equal(t, "live peer absent: snake: no Python", skipOf(t, python))

	require.NoError(t, os.Mkdir(filepath.Join(peers, "snake"), 0o755))
	assert.Empty(t, skipOf(t, dir))
	assert.Equal(t, "live peer absent: snake: it has no bin/python", skipOf(t, python))
}

func TestPlaceIsTheModules(t *testing.T) {
	t.Setenv("PACKETSTREAM_PEERS", "")
	root, err := moduleRoot()
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(root, "internal", "livepeer", "livepeer.go"))

	_, err = find("no such peer")
	assert.ErrorContains(t, err, "not made yet")

	t.Chdir("/")
	_, err = find("no such peer")
	assert.ErrorContains(t, err, "no go.mod above /")
}
