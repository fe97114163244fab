package pconn_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// longTrip is the round trip of the links here.
const longTrip = 50 * time.Millisecond

// longPair returns two ends of which each hears the other half a round trip later. It is for a bubble, whose time
// passes without waiting: so the link carries any number of bytes at once.
func longPair(t *testing.T, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	t.Helper()
	aIn, aOut := longWay()
	bIn, bOut := longWay()
	x, err := pconn.New(aIn, bOut, a)
	require.NoError(t, err)
	y, err := pconn.New(bIn, aOut, b)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
		time.Sleep(longTrip) // what is under way arrives
	})
	return x, y
}

// longWay is one direction. Its goroutines end with the stream.
func longWay() (*bufio.Input, *bufio.Output) {
	type parcel struct {
		due   time.Time
		bytes []byte
	}
	from, out := bufio.Pipe(0)
	in, to := bufio.Pipe(bufio.MaxPipe)
	way := make(chan parcel, 1<<16)
	go func() {
		defer close(way)
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			way <- parcel{time.Now().Add(longTrip / 2), b[:n]}
		}
	}()
	go func() {
		defer to.Close()
		for p := range way {
			time.Sleep(time.Until(p.due))
			var batch bufio.Batch
			batch.End(append(batch.Begin(), p.bytes...))
			if to.Write(&batch, true) != nil {
				break
			}
		}
		for range way { // the other end has gone
		}
	}()
	return in, out
}

// pump writes to a stream without end, and says how much in all when the stream is over.
func pump(x *pconn.Stream) <-chan int64 {
	wrote := make(chan int64, 1)
	go func() {
		block, all := make([]byte, 64<<10), int64(0)
		for {
			n, err := x.Write(block)
			all += int64(n)
			if err != nil {
				wrote <- all
				return
			}
		}
	}()
	return wrote
}

// windowOf returns how far a sender gets ahead of a reader that has read so many bytes and now reads no more: the window.
func windowOf(t *testing.T, x *pconn.Stream, wrote <-chan int64, read int64) int64 {
	t.Helper()
	require.NoError(t, x.SetWriteDeadline(time.Now().Add(patience/2)))
	return receiveFrom(t, wrote) - read
}

// TestWindowGrowsOnALongLink checks that a stream gets far more through than its first window in a round trip.
func TestWindowGrowsOnALongLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 16 * pconn.DefaultStreamWindow
		limits := pconn.StreamLimits{MaxWindow: most}
		a, b := longPair(t, nil, &pconn.Options{Streams: limits})
		x, y := streamPair(t, a, b)
		wrote := pump(x)
		begun := time.Now()
		_, err := io.CopyN(io.Discard, y, 8*most)
		require.NoError(t, err)
		require.Less(t, time.Since(begun), 20*longTrip, "with the first window it takes 128 round trips")
		grown := time.Now()
		_, err = io.CopyN(io.Discard, y, 8*most)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(grown), 9*longTrip)
		window := windowOf(t, x, wrote, 16*most)
		require.LessOrEqual(t, window, int64(most))
		require.GreaterOrEqual(t, window, int64(most*3/4), "the rest is read and not yet allowed")
		require.NoError(t, y.Close())
	})
}

// TestSlowReaderKeepsItsWindow checks that a window does not grow where the reader is what the sender waits for.
func TestSlowReaderKeepsItsWindow(t *testing.T) {
	for name, c := range map[string]struct {
		reads int64
		every time.Duration
		most  int64
	}{
		"that reads nothing": {0, time.Millisecond, pconn.DefaultStreamWindow},
		"that is slow":       {16 << 10, longTrip / 2, pconn.DefaultStreamWindow},
		// Nearly as fast as the window lets the sender be, so that little waits at first.
		"that is a little slow": {64 << 10, longTrip / 3, 2 * pconn.DefaultStreamWindow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := longPair(t, nil, nil)
				x, y := streamPair(t, a, b)
				wrote := pump(x)
				read := int64(0)
				for range 300 {
					n, err := io.CopyN(io.Discard, y, c.reads)
					require.NoError(t, err)
					read += n
					time.Sleep(c.every)
				}
				window := windowOf(t, x, wrote, read)
				require.LessOrEqual(t, window, c.most)
				require.GreaterOrEqual(t, window, int64(pconn.DefaultStreamWindow*3/4), "the rest is read and not yet allowed")
			})
		})
	}
}

// TestWindowsKeepToTheBudget checks that the windows of fast streams stay within the memory that they have.
func TestWindowsKeepToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, first, memory = 8, 64 << 10, 2 << 20
		a, b := longPair(t, nil, &pconn.Options{Streams: pconn.StreamLimits{Window: first, Memory: memory}})
		type way struct {
			x, y  *pconn.Stream
			wrote <-chan int64
			read  chan int64
		}
		var ways []way
		for range n {
			x, y := streamPair(t, a, b)
			w := way{x, y, pump(x), make(chan int64, 1)}
			go func() {
				n, _ := io.Copy(io.Discard, w.y)
				w.read <- n
			}()
			ways = append(ways, w)
		}
		time.Sleep(time.Second)
		for _, w := range ways {
			require.NoError(t, w.y.SetReadDeadline(time.Now()))
		}
		all := int64(0)
		for _, w := range ways {
			window := windowOf(t, w.x, w.wrote, receiveFrom(t, w.read))
			require.GreaterOrEqual(t, window, int64(first*3/4))
			all += window
		}
		require.LessOrEqual(t, all, int64(n*first+memory))
		require.Greater(t, all, int64(n*first+memory/2), "they have grown")
	})
}
