package clock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs a test with a clock of each kind.
func both(t *testing.T, test func(t *testing.T, polled bool)) {
	for name, polled := range map[string]bool{"polled": true, "not polled": false} {
		t.Run(name, func(t *testing.T) { test(t, polled) })
	}
}

func TestClockRings(t *testing.T) {
	both(t, func(t *testing.T, polled bool) {
		rung := make(chan time.Time, 1)
		c := clock.New(polled, func() { rung <- time.Now() })
		defer c.Stop()
		for _, d := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
			began := time.Now()
			c.Set(d)
			assert.GreaterOrEqual(t, (<-rung).Sub(began), d)
		}
	})
}

// TestClockIsSetAnew: the last time counts, and only once.
func TestClockIsSetAnew(t *testing.T) {
	both(t, func(t *testing.T, polled bool) {
		rung := make(chan time.Time, 2)
		c := clock.New(polled, func() { rung <- time.Now() })
		defer c.Stop()
		c.Set(time.Hour)
		c.Set(time.Millisecond)
		<-rung
		began := time.Now()
		c.Set(time.Millisecond)
		c.Set(30 * time.Millisecond)
		// It may have rung before it was set anew.
		at := <-rung
		if at.Sub(began) < 30*time.Millisecond {
			at = <-rung
		}
		assert.GreaterOrEqual(t, at.Sub(began), 30*time.Millisecond)
	})
}

// TestClockSetsItself, as a watchdog does.
func TestClockSetsItself(t *testing.T) {
	both(t, func(_ *testing.T, polled bool) {
		rung := make(chan struct{})
		var c *clock.Clock
		c = clock.New(polled, func() {
			c.Set(time.Millisecond)
			select {
			case rung <- struct{}{}:
			default:
			}
		})
		c.Set(time.Millisecond)
		for range 5 {
			<-rung
		}
		c.Stop()
	})
}

// TestStoppedClock stays silent.
func TestStoppedClock(t *testing.T) {
	both(t, func(t *testing.T, polled bool) {
		rung := make(chan struct{}, 1)
		c := clock.New(polled, func() { rung <- struct{}{} })
		c.Set(time.Hour)
		c.Stop()
		c.Set(0)
		c.Stop()
		other := make(chan struct{})
		d := clock.New(polled, func() { close(other) })
		d.Set(20 * time.Millisecond)
		<-other
		d.Stop()
		assert.Empty(t, rung)
		clock.New(polled, nil).Stop()
	})
}
