package mushroom_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

// TestMemoryPerSession measures what 10,000 idle sessions cost a server; their clients are another
// process. The last row has no bound: it says what a poll in progress costs, which is net/http's affair.
func TestMemoryPerSession(t *testing.T) {
	count := 10_000
	if underRace {
		count = 500 // the detector's own memory would be measured
	}
	for _, row := range []struct {
		name, child string
		most        int // bytes
	}{
		{"ws", "sockets", 32 << 10},
		{"poll", "polls", 8 << 10},
		{"poll in progress", "waiting", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			service, server, err := mushroomtest.New(nil, mushroom.ServerOptions{})
			require.NoError(t, err)
			t.Cleanup(service.Wait)
			url := serve(t, server)
			warmUp(t, url)
			eventually(t, func() bool { return server.Len() == 0 }, "no session left")
			before := resident(t)
			require.Equal(t, "ready", startChild(t, fmt.Sprintf("%s %s %d", row.child, url, count)))
			require.Equal(t, count, server.Len())
			each := (resident(t) - before) / count
			t.Logf("%d sessions, %.1f KiB of resident memory each, %d goroutines", count, float64(each)/1024, runtime.NumGoroutine())
			if !underRace && row.most > 0 {
				assert.Less(t, each, row.most)
			}
		})
	}
}

// warmUp has everything in memory that one session needs.
func warmUp(t *testing.T, url string) {
	t.Helper()
	for _, transport := range []string{"ws", "poll"} {
		s, err := mushroom.Dial(t.Context(), url, &mushroom.DialOptions{Transports: []string{transport}})
		require.NoError(t, err)
		_, err = s.Request(t.Context(), "ping", nil)
		require.NoError(t, err)
		closeSession(t, s)
	}
}

// resident is the memory this process has, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	_, rest, ok := strings.Cut(string(text), "VmRSS:")
	require.True(t, ok)
	var kib int
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(t, err)
	return kib << 10
}
