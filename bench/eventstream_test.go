package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/livepeer"
)

func TestEventstreamCodecs(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, compareCodecs(&out, 1, time.Millisecond))
	assert.Equal(t, 3, strings.Count(out.String(), "| encode "), out.String())
	assert.Equal(t, 3, strings.Count(out.String(), "| decode "), out.String())
}

func TestEventstreamServers(t *testing.T) {
	if os.Getenv("PACKETSTREAM_PEERS") == "" {
		peers, err := filepath.Abs("../.cache/peers")
		require.NoError(t, err)
		t.Setenv("PACKETSTREAM_PEERS", peers)
	}
	livepeer.Dir(t, "eventstream-java")
	livepeer.Python(t, "eventstream-python")
	run := serversRun{root: "..", rounds: 1, slice: 20 * time.Millisecond, modes: []string{"calls", "stream", "many", "large"}}
	var out bytes.Buffer
	require.NoError(t, run.run(t.Context(), &out, t.Output()))
	for _, mode := range run.modes {
		assert.Contains(t, out.String(), "| "+mode+" ")
	}
}

func TestSpread(t *testing.T) {
	assert.Equal(t, spread{2, 1, 9}, spreadOf([]float64{9, 1, 2}))
	assert.Equal(t, spread{2.5, 1, 9}, spreadOf([]float64{9, 1, 2, 3}))
	assert.Equal(t, "2.50 (1.00 to 9.00)", spread{2.5, 1, 9}.String())
}
