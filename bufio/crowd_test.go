package bufio

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCrowdSleeps lets more look than may: all leave, nobody looks for some waits, and then one may again.
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
	for range asleepFor {
		require.False(t, c.join())
	}
	require.False(t, c.tooMany())
	for range maxLooking {
		require.True(t, c.join(), "all have left")
	}
}

// TestEagernessInACrowd has waits of many connections at a time, which others end before they have found anything.
func TestEagernessInACrowd(t *testing.T) {
	before := lookers.looking.Load()
	t.Cleanup(func() { lookers.asleep.Store(0) })
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
