package bufio

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waitInVain is a wait that finds nothing by looking. It returns whether it looked, and for how many turns.
func (e *eagerness) waitInVain(pace int) (looked bool, turns int) {
	e.asked = false
	e.begin(pace)
	for n := e.next(); n > 0; n = e.next() {
		looked = true
		turns += n
	}
	return looked, turns
}

func TestEagernessIsBounded(t *testing.T) {
	for _, pace := range []int{1, 2, 10, 33} {
		var e eagerness
		looked, turns := e.waitInVain(pace)
		require.True(t, looked)
		require.GreaterOrEqual(t, turns, maxTurns)
		require.Less(t, turns, 2*maxTurns, "pace %d", pace)
	}
	var e eagerness
	looked, _ := e.waitInVain(0)
	require.False(t, looked, "nothing was expected")
}

// TestEagernessThatDoesNotPayIsGivenUp counts the looks of a thousand waits in vain, and that they come back.
func TestEagernessThatDoesNotPayIsGivenUp(t *testing.T) {
	var e eagerness
	looks := 0
	for range 1000 {
		if looked, _ := e.waitInVain(1); looked {
			looks++
		}
	}
	assert.LessOrEqual(t, looks, freeFailures+10)
	assert.Greater(t, looks, freeFailures)

	tries := 0
	for tries < 1<<(maxFailures-freeFailures)+1 {
		tries++
		e.asked = false
		e.begin(1)
		if e.next() > 0 {
			break
		}
	}
	require.LessOrEqual(t, tries, 1<<(maxFailures-freeFailures)+1, "it is tried again now and then")
	for range maxFailures {
		e.asked = false
		e.begin(1)
		e.skip = 0
		e.pace = 1
		require.Positive(t, e.next())
		e.found()
	}
	require.Zero(t, e.failures, "what pays is kept up")
}

// TestLookingIsInterruptedBySleep has every look succeed at once: now and then it sleeps nevertheless, and then looks again.
func TestLookingIsInterruptedBySleep(t *testing.T) {
	var e eagerness
	const waits = 4 * maxAwake
	slept := 0
	for range waits {
		e.asked = false
		e.begin(1)
		if e.next() == 0 {
			slept++
		}
		e.found()
	}
	require.InDelta(t, waits/maxAwake, slept, 1)
	require.Zero(t, e.failures)
}

// TestPeerThatTakesLongIsSleptFor has every look succeed, but late.
func TestPeerThatTakesLongIsSleptFor(t *testing.T) {
	var e eagerness
	looks := 0
	for range 1000 {
		e.asked = false
		e.begin(1)
		for n := e.next(); n > 0 && e.turns <= paidTurns; n = e.next() {
		}
		if e.pace > 0 {
			looks++
		}
		e.found()
	}
	assert.LessOrEqual(t, looks, freeFailures+10)
}

// TestBulkIsLookedForToTheEnd is the same with bulk.
func TestBulkIsLookedForToTheEnd(t *testing.T) {
	e := eagerness{bulk: true}
	for range 1000 {
		e.awake = 0
		e.begin(1)
		for n := e.next(); n > 0 && e.turns <= paidTurns; n = e.next() {
		}
		require.Positive(t, e.pace, "it looks")
		e.found()
	}
	looked, _ := e.waitInVain(1)
	require.True(t, looked)
	require.Equal(t, 1, e.failures, "what does not come at all has failed")
}

// TestBesideBulkIsLookedForToTheEnd has small things come late beside bulk, behind a time in which it did not pay to look.
func TestBesideBulkIsLookedForToTheEnd(t *testing.T) {
	var e eagerness
	for range 1000 {
		e.waitInVain(1)
	}
	for range 1000 {
		e.besideBulk(true)
		e.awake = 0
		e.begin(1)
		for n := e.next(); n > 0 && e.turns <= paidTurns; n = e.next() {
		}
		require.Positive(t, e.pace, "it looks")
		e.found()
	}
	looks := 0
	for range 1000 {
		e.besideBulk(true)
		if looked, _ := e.waitInVain(1); looked {
			looks++
		}
	}
	require.LessOrEqual(t, looks, freeFailures+10, "what does not come at all has failed")
}

// TestInputKnowsBulk reads a large payload between two small pieces.
func TestInputKnowsBulk(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			written := later(t, func() error { _, err := w.Write(make([]byte, 1+1<<17)); return err })
			_, err := in.Take(1)
			require.NoError(t, err)
			require.False(t, in.eager.bulk)
			require.NoError(t, in.ReadFull(make([]byte, 1<<17)))
			require.NoError(t, written())
			require.True(t, in.eager.bulk)
			written = later(t, func() error { _, err := w.Write([]byte("a")); return err })
			_, err = in.Peek(1)
			require.NoError(t, err)
			require.NoError(t, written())
			require.False(t, in.eager.bulk)
		})
	}
}

// waitFor is a wait for what comes after so many turns. It returns how many reads it took, and how many turns too late the
// last one was.
func (e *eagerness) waitFor(at, pace int) (reads, late int) {
	e.asked = false
	if !e.comesLater() {
		reads++
		if at == 0 {
			e.found()
			return reads, 0
		}
	}
	e.begin(pace)
	for n := e.next(); n > 0; n = e.next() {
		reads++
		if e.turns >= at {
			break
		}
	}
	late = e.turns - at
	e.found()
	return reads, late
}

// TestFirstLookIsAboutWhenThingsCome has things come after some turns, then sooner, then at once.
func TestFirstLookIsAboutWhenThingsCome(t *testing.T) {
	const waits, pace = 1000, 16
	var e eagerness
	for _, at := range []int{100, 300, 40, 0} {
		for range 100 {
			e.waitFor(at, pace)
		}
		reads, late := 0, 0
		for range waits {
			n, turns := e.waitFor(at, pace)
			reads += n
			late += turns
		}
		assert.LessOrEqual(t, float64(reads)/waits, 3.1, "reads, for what comes after %d turns", at)
		assert.LessOrEqual(t, late/waits, max(2*pace, at/4), "turns too late, for what comes after %d", at)
	}
	reads, _ := e.waitFor(0, pace)
	require.Equal(t, 1, reads)
	require.Zero(t, e.first(), "what comes at once is read at once")
}

// TestVainLooksForgetWhenThingsCame has a wait in vain behind some that were not.
func TestVainLooksForgetWhenThingsCame(t *testing.T) {
	var e eagerness
	for range 100 {
		e.waitFor(100, 1)
	}
	require.True(t, e.comesLater())
	e.waitInVain(1)
	require.False(t, e.comesLater())
	e.begin(1)
	require.Equal(t, 1, e.next(), "the first look is at once")
	e.leave()
	for range 100 {
		e.waitFor(100, 1)
	}
	require.True(t, e.comesLater())
}

// TestTwoEndsThatLookLateDoNotSlowDown has each of two ends wait for what the other takes, and for as long as that looked too late.
func TestTwoEndsThatLookLateDoNotSlowDown(t *testing.T) {
	const work = 60
	var ends [2]eagerness
	late := 0
	for i := range 10_000 {
		e := &ends[i%2]
		e.awake = 0
		_, late = e.waitFor(work+late, 16)
		require.Less(t, late, work)
	}
}

// TestBeforeLook shows that who is told of a look to come is told when there is none any more: it sleeps, or is interrupted.
func TestBeforeLook(t *testing.T) {
	for _, name := range []string{"pipe", "tcp"} {
		t.Run(name, func(t *testing.T) {
			in, w := live[name](t)
			looks := make(chan bool, 10_000)
			in.BeforeWait(func() int { return 1 })
			in.BeforeLook(func(again bool) { looks <- again })
			again := 0
			for range 20 {
				read := later(t, func() error { _, err := in.Take(1); return err })
				for <-looks {
					again++
				}
				_, err := w.Write([]byte("a"))
				require.NoError(t, err)
				require.NoError(t, read())
			}
			require.Positive(t, again)

			in.BeforeWait(func() int { in.Interrupt(); return 1 })
			_, err := in.Take(1)
			require.ErrorIs(t, err, ErrInterrupted)
			require.False(t, <-looks)
		})
	}
}

// TestBeforeWait shows for every kind of stream that it is told of a wait, and not of bytes that are there.
func TestBeforeWait(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			waits := make(chan struct{}, 100)
			in.BeforeWait(func() int { waits <- struct{}{}; return 1 })
			read := later(t, func() error { _, err := in.Peek(1); return err })
			<-waits
			_, err := w.Write([]byte("ab"))
			require.NoError(t, err)
			require.NoError(t, read())
			for len(waits) > 0 {
				<-waits
			}
			b, err := in.Take(1)
			require.NoError(t, err)
			require.Equal(t, "a", string(b))
			require.Empty(t, waits, "the byte was buffered")
		})
	}
}

// TestInterruptEndsLooking interrupts a read while it looks, before and after it sleeps.
func TestInterruptEndsLooking(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			in.BeforeWait(func() int { in.Interrupt(); return 1 })
			_, err := in.Peek(1)
			require.ErrorIs(t, err, ErrInterrupted)
			in.BeforeWait(nil)
			in.Resume()
			read := later(t, func() error { _, err := in.Peek(1); return err })
			_, err = w.Write([]byte("a"))
			require.NoError(t, err)
			require.NoError(t, read())
		})
	}
}
