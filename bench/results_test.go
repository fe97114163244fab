package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bench/report"
)

// enterRepository makes an empty repository's root the working directory.
func enterRepository(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	mark := filepath.Join(root, "testdata/packetstream/peers/server.py")
	require.NoError(t, os.MkdirAll(filepath.Dir(mark), 0o755))
	require.NoError(t, os.WriteFile(mark, nil, 0o644))
	t.Chdir(root)
	return root
}

func TestTheNewestResultsAreFound(t *testing.T) {
	root := enterRepository(t)
	_, err := loadResults("", new(bytes.Buffer))
	require.ErrorContains(t, err, "--from")

	now := time.Now()
	for i, name := range []string{"quick", "full", "headline", "results"} {
		path := resultsDir + "/" + name + ".json"
		require.NoError(t, save(path, &report.Results{Set: name}))
		when := now.Add(time.Duration(i) * time.Minute)
		require.NoError(t, os.Chtimes(filepath.Join(root, path), when, when))

		var log bytes.Buffer
		r, err := loadResults("", &log)
		require.NoError(t, err)
		assert.Equal(t, name, r.Set)
		assert.Contains(t, log.String(), name+".json", "it says which it took")
	}
}

func TestNamedResultsAreTakenInSilence(t *testing.T) {
	root := enterRepository(t)
	require.NoError(t, save("there.json", &report.Results{Set: "quick"}))
	for _, path := range []string{"there.json", filepath.Join(root, "there.json")} {
		var log bytes.Buffer
		r, err := loadResults(path, &log)
		require.NoError(t, err)
		assert.Equal(t, "quick", r.Set)
		assert.Empty(t, log.String())
	}
}
