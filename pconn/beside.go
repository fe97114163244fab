package pconn

import "runtime"

// Where requests and bulk share a connection, the ends' goroutines share the processors: who copies bulk does so for as
// long as a hundred requests take. So small ones go first. A caller who has got its answer runs before the receiver goes on
// with bulk, others run between two writes of it, and an end does not sleep for want of small packets while there is bulk:
// what wakes it would have to wait for a processor on which somebody copies.

// beside is what the receiver knows of bulk that others come beside. An end that sends bulk knows that by the credit for it. It
// belongs to whoever receives.
type beside struct {
	bulk     uint8 // how many packets of others may come until the bulk is forgotten
	answered bool  // callers have got their answers, and perhaps not run since
}

const (
	// companyFor is for how much bulk, data or credit, requests and answers beside it are remembered. If they come one at a
	// time they come more often.
	companyFor = 1 << 20

	// bulkFor is for how many others bulk is remembered.
	bulkFor = 64

	// bulkFrom is from which size on the data in a frame is bulk, or the credit.
	bulkFrom = gatherStream
)

// countBulk counts data of a frame, or what one allows. Conn.mu is held, by the receiver.
func (c *Conn) countBulk(n int64) {
	if n >= bulkFrom {
		c.beside.bulk = bulkFor
	}
	c.st.company = int32(max(0, int64(c.st.company)-n))
}

// countOther is called for a packet that is no frame, by the receiver.
func (c *Conn) countOther() {
	if c.beside.bulk > 0 {
		c.beside.bulk--
	}
}

// besideBulk says whether there are bulk and others. It is the receiver's, which is the only one to change what it asks for.
func (c *Conn) besideBulk() bool { return c.beside.bulk > 0 && c.st.company > 0 }

// letCallersRun has callers run that were woken beside bulk, before the receiver does what takes longer than they do. It is
// called before anything but an answer is taken up, or waited for.
func (c *Conn) letCallersRun() {
	if c.beside.answered {
		c.beside.answered = false
		runtime.Gosched()
	}
}
