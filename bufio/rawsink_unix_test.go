//go:build unix

package bufio

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// at returns n bytes that begin so many bytes into a page.
func at(offset, n int) []byte {
	b := make([]byte, n+2*pageSize)
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (pageSize - 1))
	return b[start+offset:][:n:n]
}

func TestLargeSlicesArePlacedWell(t *testing.T) {
	const large = gatherSize
	header := func(n int) []byte { return make([]byte, n) }
	for name, c := range map[string]struct {
		bufs [][]byte
		want int
	}{
		"small ones":                {[][]byte{header(8), header(100)}, 2},
		"a large one alone":         {[][]byte{at(0, large)}, 1},
		"a header first":            {[][]byte{header(8), at(0, large)}, 1},
		"the same, as far in":       {[][]byte{header(8), at(8, large)}, 2},
		"further in":                {[][]byte{header(8), at(100, large)}, 2},
		"little less far in":        {[][]byte{header(8), at(4, large)}, 1},
		"a long header":             {[][]byte{header(slowAhead), at(0, large)}, 2},
		"pages and a header":        {[][]byte{header(3*pageSize + 15), at(0, large)}, 1},
		"several":                   {[][]byte{header(8), at(0, large), header(8), at(0, large)}, 4},
		"several, the last badly":   {[][]byte{header(16), at(0, large), header(8), at(16, large)}, 3},
		"several, one of them huge": {[][]byte{header(8), at(0, worthAWrite), header(8), at(0, large)}, 1},
		"the rest of a large one":   {[][]byte{at(pageSize-8, large), header(8)}, 2},
	} {
		assert.Equal(t, c.want, wellPlaced(c.bufs), name)
	}
}
