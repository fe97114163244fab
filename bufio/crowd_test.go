package bufio

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCrowdSleeps lets more look than may: all leave, nobody looks for some waits and some time, and then one may again.
func TestCrowdSleeps(t *testing.T) {
	var c crowd
	for range maxLooking {
		require.True(t, c.join())
	}
	require.False(t, c.tooMany())
	require.False(t, c.join(), "one too many")
	require.True(t, c.tooMany(), "those who look are to leave")
	for range maxLooking {
		c.leave()
	}
	c.until.Store(sinceStart() + int64(time.Hour))
	sleepOut(t, &c)
	require.True(t, c.tooMany(), "the time is not over")
	c.until.Store(sinceStart())
	sleepOut(t, &c)
	require.False(t, c.tooMany())
	for range maxLooking {
		require.True(t, c.join(), "all have left")
	}
}

// sleepOut has as many ask as do until the clock is read.
func sleepOut(t *testing.T, c *crowd) {
	t.Helper()
	for range asleepFor {
		require.False(t, c.join())
	}
}

// TestCrowdSleepsForLonger lets too many look again and again, and then again after a long time.
func TestCrowdSleepsForLonger(t *testing.T) {
	var c crowd
	tooMany := func(last int64) (pause int64) {
		c.looking.Store(maxLooking)
		c.asleep.Store(0)
		c.until.Store(sinceStart() - last)
		require.False(t, c.join())
		require.True(t, c.tooMany())
		pause = c.pause.Load()
		left := c.until.Load() - sinceStart()
		require.LessOrEqual(t, left, pause)
		require.Greater(t, left, pause-int64(time.Minute))
		return pause
	}
	require.EqualValues(t, minPause, tooMany(maxPause+1), "it was long ago")
	require.EqualValues(t, 2*minPause, tooMany(0))
	require.EqualValues(t, 4*minPause, tooMany(0))
	for range 10 {
		tooMany(0)
	}
	require.EqualValues(t, maxPause, tooMany(0))
	require.EqualValues(t, minPause, tooMany(maxPause+1))

	require.False(t, c.join())
	c.sleep()
	require.EqualValues(t, minPause, c.pause.Load(), "it sleeps already: many find so at a time")
}

// TestEagernessInACrowd has waits of many connections at a time, which others end before they have found anything.
func TestEagernessInACrowd(t *testing.T) {
	before := lookers.looking.Load()
	t.Cleanup(func() {
		lookers.asleep.Store(0)
		lookers.pause.Store(0)
		lookers.until.Store(0)
	})
	var all [maxLooking + 1]eagerness
	last := maxLooking - int(before)
	for i := range all[:last] {
		all[i].begin(1)
		require.Positive(t, all[i].next())
	}
	all[last].begin(1)
	require.Zero(t, all[last].next(), "it sleeps at once")
	for i := range all[:last] {
		require.Zero(t, all[i].next(), "it looks no further")
		require.Zero(t, all[i].failures, "it is not to blame")
	}
	require.Equal(t, before, lookers.looking.Load())

	lookers.asleep.Store(0)
	all[0].asked = false
	all[0].begin(1)
	require.Positive(t, all[0].next(), "it looks again")
	all[0].found()
	require.Equal(t, before, lookers.looking.Load())
}

// TestNobodyLooksBehindARead has reads end in several ways.
func TestNobodyLooksBehindARead(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			before := lookers.looking.Load()
			in, w := open(t)
			in.BeforeWait(func() int { return 1 })
			read := later(t, func() error { _, err := in.Peek(1); return err })
			_, err := w.Write([]byte("a"))
			require.NoError(t, err)
			require.NoError(t, read())
			require.Equal(t, before, lookers.looking.Load(), "it has found something")

			in.BeforeWait(func() int { in.Interrupt(); return 1 })
			_, err = in.Peek(2)
			require.ErrorIs(t, err, ErrInterrupted)
			require.Equal(t, before, lookers.looking.Load(), "it was interrupted")
			in.Resume()

			in.BeforeWait(func() int { w.Close(); return 1 })
			_, err = in.Peek(2)
			require.Error(t, err)
			require.Equal(t, before, lookers.looking.Load(), "the stream has ended")
		})
	}
}
