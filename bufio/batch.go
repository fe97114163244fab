package bufio

import "slices"

// Batch holds packets to be written: small bytes are copied in, large payloads are kept by reference. It is
// a Source. The zero value is an empty Batch. It is not safe for concurrent use: who shares one holds a lock
// around every call, Next and Wrote among them, but not around the system call between those two.
type Batch struct {
	buf  []byte // what was copied in, in order
	pos  int    // bytes of buf that are written or were taken out
	refs []ref
	next int    // the first of refs that is not finished
	base uint64 // the Ref of refs[0]
	size int    // bytes not yet written

	passing []passing // descriptors that go with bytes not yet written, in order
	lentSet *Handles  // those that go with what Next gave

	lent    bool // between Next and Wrote
	lentRef int  // the number of refs that were handed out or finished
}

// Ref names a payload that is in a Batch by reference. It stays valid, as the name of something that is gone,
// when the Batch is reset and used again.
type Ref uint64

// ref is a payload that lies behind buf[:at]. Its packet begins at buf[start].
type ref struct {
	start, at int
	rest      []byte
	part      bool // some of it was written
	dead      bool // taken out, with its header
	done      bool // written, or in memory of the Batch's own
}

// passing is descriptors that go with the packet which begins at buf[at].
type passing struct {
	at      int
	handles *Handles
}

// RefState is what has become of a payload by reference.
type RefState int

const (
	// RefGone: it was written, unlinked or detached; the memory is not looked at any more.
	RefGone RefState = iota
	// RefWaiting: no byte of its packet has been handed to a writer.
	RefWaiting
	// RefLent: it, or its packet's header, is among the slices that the last Next gave, and Wrote has not
	// come back yet. The writer may be reading the memory right now.
	RefLent
	// RefBegun: some bytes of its packet were written, and the rest waits.
	RefBegun
)

// Begin returns the Batch's buffer for one packet to be appended to. What was appended counts when it is
// passed to End or EndRef, before any other call of the Batch; a packet that is given up is simply not passed.
func (b *Batch) Begin() []byte {
	switch {
	case b.lent:
	case b.size == 0:
		b.Reset()
	case b.pos >= batchShift && b.pos >= len(b.buf)/2:
		b.shift()
	}
	return b.buf
}

// End ends a packet that is wholly in buf, which is what Begin gave with the packet behind it.
func (b *Batch) End(buf []byte) {
	b.size += len(buf) - len(b.buf)
	b.buf = buf
}

// EndRef ends a packet whose last bytes are p, by reference: p must not change until the Ref is gone.
func (b *Batch) EndRef(buf, p []byte) Ref {
	start := len(b.buf)
	b.End(buf)
	b.size += len(p)
	b.refs = append(b.refs, ref{start: start, at: len(buf), rest: p})
	return Ref(b.base + uint64(len(b.refs)-1))
}

// EndHandles ends a packet that is wholly in buf, as End does, and with whose first byte descriptors go. They are the
// Batch's, until an Output has sent them, or TakeHandles.
func (b *Batch) EndHandles(buf []byte, h *Handles) {
	b.passing = append(b.passing, passing{len(b.buf), h})
	b.End(buf)
}

// Handles implements HandleSource.
func (b *Batch) Handles() *Handles { return b.lentSet }

// TakeHandles returns the descriptors that were not sent, for whoever drops the Batch to close.
func (b *Batch) TakeHandles() []*Handles {
	var all []*Handles
	for _, p := range b.passing {
		all = append(all, p.handles)
	}
	b.passing, b.lentSet = nil, nil
	return all
}

// HadRefs reports whether a payload was ever in it by reference, so that somebody may have a Ref still.
func (b *Batch) HadRefs() bool { return b.base > 0 || len(b.refs) > 0 }

// HasRefs reports whether a payload is in it by reference, or was since it was last empty.
func (b *Batch) HasRefs() bool { return len(b.refs) > 0 }

// HasHandles reports whether descriptors go with any of it.
func (b *Batch) HasHandles() bool { return len(b.passing) > 0 }

// Kept returns how many bytes of memory it keeps for what is copied in next.
func (b *Batch) Kept() int { return cap(b.buf) }

// Len returns the number of bytes not yet written.
func (b *Batch) Len() int { return b.size }

// State tells what has become of a payload.
func (b *Batch) State(id Ref) RefState {
	i, ok := b.find(id)
	switch {
	case !ok:
		return RefGone
	case b.lent && i < b.lentRef:
		return RefLent
	case b.refs[i].part || i == b.next && b.pos > b.refs[i].start:
		return RefBegun
	}
	return RefWaiting
}

// Unlink takes a packet out, header and payload, if no byte of it was handed to a writer. It reports
// whether it did; if so, none of it will be written.
func (b *Batch) Unlink(id Ref) bool {
	if b.State(id) != RefWaiting {
		return false
	}
	i, _ := b.find(id)
	b.takeOut(&b.refs[i])
	return true
}

func (b *Batch) takeOut(r *ref) {
	b.size -= r.at - r.start + len(r.rest)
	r.rest, r.dead, r.done = nil, true, true
}

// Detach copies what is not yet written of a payload into memory of the Batch's own, so that the caller's is
// not looked at again, and reports whether the caller may have it back: false only between Next and Wrote, if
// the payload was handed out.
func (b *Batch) Detach(id Ref) bool {
	switch b.State(id) {
	case RefGone:
		return true
	case RefLent:
		return false
	}
	i, _ := b.find(id)
	r := &b.refs[i]
	r.rest = append([]byte(nil), r.rest...)
	r.done = true
	return true
}

// Filter takes packets out of a Batch of which nothing was ever handed to a writer. keep is called for each packet, in
// order, with bytes that begin with it; it says whether the packet stays, and how many bytes it has, which does not matter of
// one with a payload by reference. The descriptors that went with what was taken out are the caller's to close.
func (b *Batch) Filter(keep func(head []byte) (size int, stays bool)) (left []*Handles) {
	kept, refs, sets := b.buf[:0], 0, 0
	for at := 0; at < len(b.buf) || refs < len(b.refs); {
		begin := len(kept)
		if refs < len(b.refs) && b.refs[refs].start == at {
			r := &b.refs[refs]
			head := b.buf[at:r.at]
			if !r.dead {
				if _, stays := keep(head); stays {
					kept = append(kept, head...)
				} else {
					b.takeOut(r)
				}
			}
			at, refs = r.at, refs+1
			r.start, r.at = begin, len(kept)
			continue
		}
		n, stays := keep(b.buf[at:])
		passes := sets < len(b.passing) && b.passing[sets].at == at
		switch {
		case stays && passes:
			b.passing[sets].at = begin
			sets++
		case passes:
			left = append(left, b.passing[sets].handles)
			b.passing = slices.Delete(b.passing, sets, sets+1)
		}
		if stays {
			kept = append(kept, b.buf[at:at+n]...)
		} else {
			b.size -= n
		}
		at += n
	}
	b.buf = kept
	return left
}

// Reset empties the Batch, whatever was written. A buffer worth keeping is kept, up to 1.5 MiB. It must not be called
// between Next and Wrote, nor with descriptors in the Batch.
func (b *Batch) Reset() {
	b.base += uint64(len(b.refs))
	clear(b.refs)
	b.refs = b.refs[:0]
	b.buf = b.buf[:0]
	if cap(b.buf) > batchKeep {
		b.buf, b.refs = nil, nil
	}
	b.pos, b.next, b.size, b.lent = 0, 0, 0, false
}

// Next implements Source. Everything it gives is lent until Wrote. What descriptors go with begins a Next of its own.
func (b *Batch) Next(bufs [][]byte) [][]byte {
	room, vectors := offerBytes, 0
	pos, i := b.pos, b.next
	add := func(p []byte) {
		if len(p) > 0 {
			bufs = append(bufs, p)
			room -= len(p)
			vectors++
		}
	}
	for set := 0; ; set++ {
		stop := len(b.buf)
		if set < len(b.passing) {
			stop = b.passing[set].at
		}
		for ; i < len(b.refs) && b.refs[i].at <= stop && room > 0 && vectors < offerVectors; i++ {
			r := &b.refs[i]
			end := r.at
			if r.dead {
				end = r.start
			}
			if end > pos {
				add(b.buf[pos:end])
			}
			add(r.rest)
			pos = r.at
		}
		if i < len(b.refs) && b.refs[i].at <= stop {
			break
		}
		add(b.buf[pos:stop])
		pos = stop
		if vectors > 0 || set == len(b.passing) {
			break
		}
		b.lentSet = b.passing[set].handles
	}
	b.lent, b.lentRef = vectors > 0, i
	return bufs
}

// Wrote implements Source.
func (b *Batch) Wrote(n int) {
	b.lent = false
	if b.lentSet != nil {
		b.lentSet = nil
		if n > 0 {
			b.passing = slices.Delete(b.passing, 0, 1)
		}
	}
	b.size -= n
	for b.next < len(b.refs) {
		r := &b.refs[b.next]
		end := r.at
		if r.dead {
			end = max(r.start, b.pos)
		}
		k := min(n, end-b.pos)
		b.pos += k
		n -= k
		if b.pos < end {
			return
		}
		k = min(n, len(r.rest))
		r.rest = r.rest[k:]
		r.part = r.part || k > 0
		n -= k
		if len(r.rest) > 0 {
			return
		}
		r.rest, r.done = nil, true
		b.pos = r.at
		b.next++
	}
	b.pos += n
	if b.size == 0 {
		b.Reset()
	}
}

// find returns the index of a payload that still is the caller's memory.
func (b *Batch) find(id Ref) (int, bool) {
	i := uint64(id) - b.base
	if i >= uint64(len(b.refs)) || b.refs[i].done {
		return 0, false
	}
	return int(i), true
}

// shift moves what is not written to the front of the buffer.
func (b *Batch) shift() {
	n := copy(b.buf, b.buf[b.pos:])
	b.buf = b.buf[:n]
	clear(b.refs[:b.next])
	b.base += uint64(b.next)
	for i := range b.passing {
		b.passing[i].at -= b.pos
	}
	b.refs = b.refs[:copy(b.refs, b.refs[b.next:])]
	for i := range b.refs {
		b.refs[i].start -= b.pos
		b.refs[i].at -= b.pos
	}
	b.pos, b.next = 0, 0
}
