package inline_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/inline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work is a handler.
type work func(inline.Turn)

func (w work) Serve(t inline.Turn) { w(t) }

// loop is a connection that receives a handler at a time.
type loop struct {
	runner *inline.Runner
	kinds  inline.Kinds
	in     chan work
	name   string
	taken  chan struct{} // one for each time that receiving began
	inline int
}

// start starts a connection that ends with in.
func start(name string) *loop {
	l := &loop{in: make(chan work), name: name, taken: make(chan struct{}, 100)}
	l.runner = inline.New(func() { go l.receive() }, false)
	go l.receive()
	<-l.taken
	return l
}

func (l *loop) receive() {
	l.taken <- struct{}{}
	for w := range l.in {
		kind := l.kinds.Of([]byte(l.name))
		if !kind.MayRun() {
			go w(0)
			continue
		}
		l.inline++
		if !l.runner.Run(kind, w) {
			return
		}
	}
}

func TestHandlersThatReturnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start("at once")
		for range 1000 {
			l.in <- func(turn inline.Turn) { assert.True(t, l.runner.Has(turn)) }
		}
		close(l.in)
		synctest.Wait()
		assert.Equal(t, 1000, l.inline)
		assert.Empty(t, l.taken, "receiving never moved")
	})
}

// TestHandlerThatWaits: receiving goes on elsewhere, and the next ones of its kind have goroutines of their own.
func TestHandlerThatWaits(t *testing.T) {
	for name, c := range map[string]struct {
		before int           // handlers that returned at once
		leaves bool          // it says so
		within time.Duration // until receiving goes on
	}{
		"it says so":              {0, true, 0},
		"the first":               {0, false, 400 * time.Microsecond},
		"after many that did not": {100_000, false, 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := start("waits")
				for range c.before {
					l.in <- func(inline.Turn) {}
				}
				release, lost := make(chan struct{}), make(chan bool, 1)
				began := time.Now()
				l.in <- func(turn inline.Turn) {
					if c.leaves {
						l.runner.Leave(turn)
					}
					<-release
					lost <- !l.runner.Has(turn)
				}
				<-l.taken
				assert.LessOrEqual(t, time.Since(began), c.within)
				ran := l.inline
				for range 256 {
					done := make(chan inline.Turn)
					l.in <- func(turn inline.Turn) { done <- turn }
					assert.Zero(t, <-done)
				}
				assert.Equal(t, ran, l.inline)
				l.in <- func(turn inline.Turn) { assert.True(t, l.runner.Has(turn)) }
				close(release)
				assert.True(t, <-lost)
				close(l.in)
				synctest.Wait()
				assert.Equal(t, ran+1, l.inline)
				assert.Empty(t, l.taken)
			})
		})
	}
}

// TestHandlerThatEndsItsGoroutine takes receiving along, which goes on on another.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(_ *testing.T) {
		l := start("exits")
		l.in <- func(inline.Turn) { runtime.Goexit() }
		<-l.taken
		close(l.in)
		synctest.Wait()
	})
}

// TestOthersTakeTheTurn: at any moment, and a turn that was taken is taken once.
func TestOthersTakeTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start("taken")
		l.runner.LeaveAny() // nobody's
		release, stale := make(chan struct{}), make(chan inline.Turn, 1)
		l.in <- func(turn inline.Turn) {
			stale <- turn
			<-release
		}
		turn := <-stale
		l.runner.LeaveAny()
		l.runner.LeaveAny()
		l.runner.Leave(turn)
		<-l.taken
		close(release)
		close(l.in)
		synctest.Wait()
		assert.Empty(t, l.taken)
	})
}

// TestLongHandlers have goroutines of their own, since another core may run them.
func TestLongHandlers(t *testing.T) {
	l := start("long")
	spin := func(inline.Turn) {
		for began := time.Now(); time.Since(began) < 50*time.Microsecond; {
			runtime.Gosched()
		}
	}
	elsewhere := make(chan struct{}, 1)
	deadline := time.After(time.Minute)
	for n := 0; ; n++ {
		l.in <- func(turn inline.Turn) {
			if turn != 0 {
				spin(turn)
				return
			}
			select {
			case elsewhere <- struct{}{}:
			default:
			}
		}
		select {
		case <-elsewhere:
			close(l.in)
			require.LessOrEqual(t, n, 16*4*10, "timed runs are told")
			return
		case <-deadline:
			t.Fatal("no handler has left the receiving goroutine")
		default:
		}
	}
}
