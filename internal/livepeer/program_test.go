package livepeer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNode(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	node := filepath.Join(dir, "node")
	of := func(least int) func(testing.TB) {
		return func(tb testing.TB) { assert.Equal(t, node, Node(tb, least)) }
	}
	assert.Regexp(t, `^live peer absent: node: .*not found`, skipOf(t, of(20)))

	require.NoError(t, os.WriteFile(node, []byte("#!/bin/sh\necho v18.20.4\n"), 0o755))
	assert.Equal(t, "live peer absent: node: "+node+" is v18.20.4, and 20 is needed", skipOf(t, of(20)))
	assert.Empty(t, skipOf(t, of(18)))

	require.NoError(t, os.WriteFile(node, []byte("#!/bin/sh\nexit 3\n"), 0o755))
	assert.Equal(t, "live peer absent: node: "+node+" --version: exit status 3", skipOf(t, of(18)))
}
