package bufio

import "sync/atomic"

// crowd is the Inputs of this process that look again at the same time. A few of them spare their threads' sleep. Where
// there are many a thread has something to run anyway, each message costs the looks of all, and what came for those who
// sleep is found late: the poller finds it for all at once. So beyond a number nobody looks for some time.
type crowd struct {
	looking atomic.Int32
	asleep  atomic.Int32 // waits to come in which nobody looks
}

// lookers are those of the process, since it is its processors that they share.
var lookers crowd

const (
	// maxLooking is how many may look at a time: with 10 connections looks make half as many calls again as the poller
	// does, with 30 a fifth less, and with 100 a quarter less.
	maxLooking = 16

	// asleepFor is in how many waits of all nobody looks where too many did. It is little to pay for one connection that
	// has become busy alone, and so many that the tries of a crowd cost next to nothing.
	asleepFor = 4096
)

// join asks to look during a wait, which leave ends if it is true.
func (c *crowd) join() bool {
	if c.tooMany() {
		c.asleep.Add(-1)
		return false
	}
	if c.looking.Add(1) > maxLooking {
		c.looking.Add(-1)
		c.asleep.Store(asleepFor)
		return false
	}
	return true
}

func (c *crowd) leave() { c.looking.Add(-1) }

// tooMany says whether those who look are to leave.
func (c *crowd) tooMany() bool { return c.asleep.Load() > 0 }
