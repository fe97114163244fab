package bufio

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestALargeReadHasWhatFollows checks that the read which has the last bytes of a large payload has the next header too, and
// that neither is lost or put elsewhere.
func TestALargeReadHasWhatFollows(t *testing.T) {
	for _, behind := range []int{0, 1, 16, bufferSmall, bufferSmall + 1, 20_000} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		all := pattern(20_000 + behind)
		_, err = w.Write(all)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		in := OwnInput(r)
		large := make([]byte, 20_000)
		require.NoError(t, in.ReadFull(large))
		require.EqualValues(t, 1, in.Reads())
		for _, v := range in.org.(*raw).vec.iov {
			require.Zero(t, v, "the reader's memory is let go")
		}
		require.Equal(t, min(behind, bufferSmall), in.Buffered())
		require.EqualValues(t, len(large), in.Offset())
		rest, err := in.Rest(len(all))
		require.NoError(t, err)
		require.True(t, bytes.Equal(all, append(large, rest...)))
		require.NoError(t, in.Close())
	}
}
