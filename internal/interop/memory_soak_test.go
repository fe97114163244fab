//go:build linux && soak

package interop

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The same as the long tests of memory, for as long as PACKETSTREAM_SOAK says: half of that for each child.
func TestSoakMemory(t *testing.T) {
	for _, child := range []string{"server", "raw"} {
		t.Run(child, func(t *testing.T) {
			duration, err := time.ParseDuration(os.Getenv("PACKETSTREAM_SOAK"))
			require.NoError(t, err)
			l := newLoad(t, child)
			const try = 100_000
			l.run(try) // the first ones take everything to its size
			began := time.Now()
			l.run(try)
			each := int(try * (duration / 20).Seconds() / time.Since(began).Seconds())
			l.rise(10, max(each, try))
			l.end()
		})
	}
}
