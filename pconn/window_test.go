package pconn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestWindowsAddUp checks what recvWindow promises of its fields, whatever comes and is taken, and when.
func TestWindowsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 1 << 20
		trip := rapid.SampledFrom([]time.Duration{0, leastTrip / 2, leastTrip}).Draw(t, "trip")
		b := budget{max: 1 << 20}
		others := b.take(rapid.Int64Range(0, b.max).Draw(t, "others"))
		size := rapid.Int64Range(1, 256<<10).Draw(t, "window")
		w := recvWindow{size: size, left: size, alone: rapid.Bool().Draw(t, "alone")}
		if rapid.Bool().Draw(t, "ours") {
			w.shared = b.take(size)
			w.size = max(w.shared, min(leastWindow, size))
			w.left = w.size
		}
		least := min(w.size, leastWindow)
		waiting, allowed := int64(0), int64(0)
		now, grown := instant(0), instant(0)
		for range 100 {
			require.False(t, w.received(w.left+1))
			n := rapid.Int64Range(0, w.left).Draw(t, "come")
			require.True(t, w.received(n))
			waiting += n
			n = rapid.Int64Range(0, waiting).Draw(t, "read")
			waiting -= n
			now += instant(rapid.Int64Range(0, int64(3*leastTrip)).Draw(t, "later"))
			w.alone = w.alone != (rapid.IntRange(0, 9).Draw(t, "something else begins or ends") == 0)
			w.company = !w.alone && rapid.Bool().Draw(t, "requests come")
			left, before, near, withheld, used := w.left, w.size, w.near, w.withheld, b.used
			if w.take(n) {
				amount, grew := w.allow(now, trip, &b, most)
				require.GreaterOrEqual(t, amount, int64(0))
				require.True(t, amount > 0 || w.size < before, "what was taken is kept only by a window that shrinks")
				require.Equal(t, left+amount, w.left)
				allowed += amount
				require.Equal(t, grew || w.near > near || w.withheld < withheld, w.size > before)
				if w.near > near {
					require.True(t, w.alone && trip == leastTrip/2)
					require.LessOrEqual(t, w.size, int64(nearWindow))
					require.LessOrEqual(t, waiting, before/4, "the reader keeps up")
					require.LessOrEqual(t, b.used, b.max/4*3, "it does not grow into the reserve")
				}
				require.False(t, !w.alone && near > 0 && w.near == near, "it goes back when something else comes")
				if w.withheld > withheld {
					require.True(t, w.company && trip == leastTrip/2)
					require.GreaterOrEqual(t, w.size, int64(besideWindow))
				}
				require.False(t, !w.company && withheld > 0 && w.withheld == withheld && w.near == near, "it is given back")
				if grew {
					require.GreaterOrEqual(t, allowed-(w.size-before), before, "a whole window was taken since it grew the last time")
					require.LessOrEqual(t, waiting, before/4, "the reader keeps up")
					require.LessOrEqual(t, b.used, b.max/4*3, "it does not grow into the reserve")
					allowed, grown = 0, now
				}
			}
			require.Equal(t, w.size, waiting+w.left+w.taken)
			require.GreaterOrEqual(t, w.size, least)
			require.LessOrEqual(t, w.size, int64(most))
			require.Equal(t, others+w.shared, b.used)
			require.GreaterOrEqual(t, w.shared, w.near)
			require.GreaterOrEqual(t, w.near, int64(0))
			require.LessOrEqual(t, b.used, max(used, b.max))
			require.LessOrEqual(t, grown, now)
			if waiting == 0 {
				require.Greater(t, w.left, w.size/2, "a peer that has to stop although nothing waits")
			}
		}
	})
}

// TestWindowDoesNotGrowWithoutNeed checks what a window that is taken at a rate becomes.
func TestWindowDoesNotGrowWithoutNeed(t *testing.T) {
	const size, trip = 64 << 10, 10 * time.Millisecond
	for name, c := range map[string]struct {
		trip  time.Duration
		rate  int64 // bytes in a millisecond
		grows bool
	}{
		"a whole one in each round trip":   {trip, size / 10, true},
		"a whole one in five round trips":  {trip, size / 50, false},
		"the round trip is not known":      {0, size, false},
		"the other end is near":            {leastTrip - 1, size, false},
		"so slow that each look begins it": {trip, size / 500, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := budget{max: 1 << 30}
			w := recvWindow{size: size, left: size}
			for ms := range instant(1000) {
				n := min(c.rate, w.left)
				require.True(t, w.received(n))
				if w.take(n) {
					w.allow(ms*instant(time.Millisecond), c.trip, &b, 1<<30)
				}
			}
			require.Equal(t, c.grows, w.size > size, "%d", w.size)
			require.LessOrEqual(t, w.size, max(size, 4*10*c.rate), "no more than the link carries in a few round trips")
		})
	}
}

// TestWindowShrinksThoughItCouldGrow checks that a window gives back what others need also where nothing but data comes.
func TestWindowShrinksThoughItCouldGrow(t *testing.T) {
	const size = 256 << 10
	for _, alone := range []bool{false, true} {
		b := budget{max: 1 << 20, used: 1 << 20}
		w := recvWindow{size: size, left: size, shared: size, alone: alone}
		require.True(t, w.received(size/4))
		require.True(t, w.take(size/4))
		amount, grew := w.allow(0, leastTrip/2, &b, 1<<30)
		require.Zero(t, amount)
		require.False(t, grew)
		require.EqualValues(t, size/4*3, w.size)
		require.EqualValues(t, 1<<20-size/4, b.used)
	}
}

// TestNoWindowGetsAll checks that a window which grows leaves something for the next.
func TestNoWindowGetsAll(t *testing.T) {
	b := budget{max: 64 << 20}
	for range 20 {
		require.Positive(t, b.grow(1<<30))
	}
	require.LessOrEqual(t, b.used, b.max/4*3)
	require.False(t, b.short())
	require.EqualValues(t, DefaultStreamWindow, b.take(DefaultStreamWindow), "a stream that is opened")
}

// TestRoundTrip checks which of the round trips that were measured count.
func TestRoundTrip(t *testing.T) {
	var r roundTrip
	require.Zero(t, r.time())
	require.True(t, r.ask(0))
	require.False(t, r.ask(0), "one is under way")
	at := func(s, ms int) {
		r.asked = false
		r.measured(time.Duration(ms)*time.Millisecond, instant(s)*instant(time.Second))
	}
	at(1, 50)
	at(2, 40)
	at(3, 60)
	require.Equal(t, 40*time.Millisecond, r.time())
	require.False(t, r.ask(instant(10*time.Second)), "it was just measured")
	r.doubtful = true
	require.True(t, r.ask(instant(10*time.Second)))
	at(12, 80)
	require.Equal(t, 40*time.Millisecond, r.time())
	require.True(t, r.ask(instant(23*time.Second)))
	at(23, 90)
	require.Equal(t, 80*time.Millisecond, r.time(), "the way has become longer")
}

func TestSendWindow(t *testing.T) {
	var w sendWindow
	require.False(t, w.allow(0))
	require.False(t, w.allow(maxCredit+1))
	require.False(t, w.allow(1<<63))
	require.True(t, w.allow(maxCredit-1))
	require.True(t, w.allow(1))
	require.False(t, w.allow(1))
	require.EqualValues(t, maxCredit, w.credit)
}
