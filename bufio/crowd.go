package bufio

import (
	"sync/atomic"
	"time"
)

// crowd is the Inputs of this process that look again at the same time. A few of them spare their threads' sleep. Where
// there are many a thread has something to run anyway, each message costs the looks of all, and what came for those who
// sleep is found late: the poller finds it for all at once. So beyond a number nobody looks for some time.
//
// When that is over all may try again. Where there are still as many, those who look for a moment have their answers at once and
// the others wait for the longer: so the time doubles as long as it is of no use.
type crowd struct {
	looking atomic.Int32
	asleep  atomic.Int32 // waits to come in which nobody looks, if the time is not over by then
	until   atomic.Int64 // when it is over
	pause   atomic.Int64 // how long it is
}

// lookers are those of the process, since it is its processors that they share.
var lookers crowd

const (
	// maxLooking is how many may look at a time: with 10 connections looks make half as many calls again as the poller
	// does, with 30 a fifth less, and with 100 a quarter less.
	maxLooking = 16

	// asleepFor is in how many waits of all nobody looks where too many did, at least. The clock is read as seldom.
	asleepFor = 4096

	// Nobody looks for so many nanoseconds. At the least it is little to pay for one connection that has become busy alone; at the most,
	// 99 of 100 calls of a crowd are not touched by its tries.
	minPause = int64(10 * time.Millisecond)
	maxPause = int64(time.Second)
)

// join asks to look during a wait, which leave ends if it is true.
func (c *crowd) join() bool {
	if c.tooMany() {
		if c.asleep.Add(-1) == 0 && sinceStart() < c.until.Load() {
			c.asleep.Store(asleepFor)
		}
		return false
	}
	if c.looking.Add(1) > maxLooking {
		c.looking.Add(-1)
		c.sleep()
		return false
	}
	return true
}

func (c *crowd) leave() { c.looking.Add(-1) }

// tooMany says whether those who look are to leave.
func (c *crowd) tooMany() bool { return c.asleep.Load() > 0 }

// sleep has nobody look for some time, unless it is so already.
func (c *crowd) sleep() {
	if n := c.asleep.Load(); n > 0 || !c.asleep.CompareAndSwap(n, asleepFor) {
		return
	}
	now, pause := sinceStart(), max(c.pause.Load(), minPause)
	if now-c.until.Load() > pause {
		pause = minPause // there was no crowd meanwhile
	} else {
		pause = min(2*pause, maxPause)
	}
	c.pause.Store(pause)
	c.until.Store(now + pause)
}

// epoch is when the process began, or a little later.
var epoch = time.Now()

// sinceStart is the time, in nanoseconds from then.
func sinceStart() int64 { return int64(time.Since(epoch)) }
