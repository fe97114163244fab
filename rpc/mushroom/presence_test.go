package mushroom

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestTimerThatComesLate: its goroutine may run after a visit that came in time has come and gone.
func TestTimerThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := make(chan struct{}, 2)
		var p presence
		p.expect(time.Minute, func() { expired <- struct{}{} })
		assert.True(t, p.enter())
		p.missed()
		p.leave()
		p.missed()
		assert.Empty(t, expired)
		<-expired
		assert.False(t, p.enter(), "too late, also while the session is being ended")
	})
}
