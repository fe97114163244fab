package pconn

import "math"

// Two ends that always wait for each other's whole round work in turns: one computes while the other has nothing to do.
// So many packets leave in portions, and both work at once. A portion has to be worth its system calls, at both ends.

const (
	// minPortion is the least that is worth a write of its own while more is on its way: so many small packets, or
	// fewer large ones, of which each KiB counts as another.
	minPortion  = 32
	portionUnit = 1024

	// portions is into how many a round is divided: at each end one under way and one that waits.
	portions = 4
)

// worthWrite says whether packets with so many bytes in all are worth a write, where a round is of so many.
func worthWrite(packets, bytes, round int) bool {
	return packets+bytes/portionUnit >= max(minPortion, round/portions)
}

// portion is the part of what has come that is answered by one write: of one read, or of many that have all found something at
// once, since before receiving waits all answers leave.
type portion struct {
	requests int32 // in it, until now
	size     int32 // bytes
	begun    int64 // where in the input it begins, or behind the header of its first packet
}

// arrived is called when a read has brought a packet's header, which ends at at, and behind that so many bytes.
func (p *portion) arrived(at int64, buffered int) {
	p.size = int32(min(buffered/portions, math.MaxInt32))
	if p.requests == 0 {
		p.begun = at
	}
}

// end is called when the answers to all of it leave.
func (p *portion) end() { p.requests = 0 }

// over reports whether the answers to what was taken until now are to leave, as does all that stands before at in the input.
func (p *portion) over(at int64) bool {
	if p.requests == 0 {
		p.begun = at
		return false
	}
	took := int(at - p.begun)
	if took < int(p.size) || !worthWrite(int(p.requests), took, 0) {
		return false
	}
	p.end()
	p.begun = at
	return true
}
