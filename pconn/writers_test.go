package pconn_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWriterBesideLongWrites checks that a Write whose memory has left returns though others, who have far more to send,
// have turns all the time.
func TestWriterBesideLongWrites(t *testing.T) {
	a, b := pipes(t, nil, nil)
	const long = 16 << 20
	ended := make(chan error, 8)
	for range cap(ended) {
		x, y := streamPair(t, a, b)
		go func() {
			_, err := x.Write(make([]byte, long))
			ended <- err
		}()
		go io.CopyN(io.Discard, y, long)
	}
	x, y := streamPair(t, a, b)
	go io.Copy(io.Discard, y)
	block := make([]byte, 64<<10)
	for n := 0; len(ended) == 0; n += len(block) {
		_, err := x.Write(block)
		require.NoError(t, err)
		if n >= long/4 {
			break // it had its turns
		}
	}
	require.Empty(t, ended)
	for range cap(ended) {
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Fatal("a long Write does not return")
		}
	}
}
