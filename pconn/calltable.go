package pconn

// callTable finds the call that a response belongs to, without a map: a tag's slot is its low bits.
// A tag whose slot is taken is passed over, so that the tags sent ascend but may have gaps. The slot
// holds the call, which holds the whole tag: a response to a call that has left its slot finds
// nothing, or a call with another tag. A call that is alone when it is put in needs no slot, which would be memory of its own to look
// at.
//
// Everything in it is guarded by Conn.mu.
type callTable struct {
	alone *call   // one without a slot, or nil
	slots []*call // a power of two of them, or none yet
	n     int     // calls in it
	last  uint64  // the last tag given out
}

const (
	minSlots  = 8
	keepSlots = 256 // a larger table is given back when the last call has left it
	firstTag  = 2   // 0 and 1 are the tags of EOF and ERQ
)

// put gives the call the next tag, and a slot if there are others.
func (t *callTable) put(c *call) {
	if t.n == 0 {
		c.tag, c.alone = t.skip(), true
		t.alone, t.n = c, 1
		return
	}
	if t.n*2 >= len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	tag := t.skip()
	for t.slots[tag&mask] != nil {
		tag++
	}
	t.last = tag
	c.tag = tag
	t.slots[tag&mask] = c
	t.n++
}

// skip returns the next tag, for something that needs no slot.
func (t *callTable) skip() uint64 {
	t.last = max(t.last+1, firstTag)
	return t.last
}

// at returns the call outstanding with this tag on any channel, or nil.
func (t *callTable) at(tag uint64) *call {
	if c := t.alone; c != nil && c.tag == tag {
		return c
	}
	if len(t.slots) == 0 {
		return nil
	}
	c := t.slots[tag&uint64(len(t.slots)-1)]
	if c == nil || c.tag != tag {
		return nil
	}
	return c
}

// find returns the call outstanding with this tag on this channel, or nil.
func (t *callTable) find(channel, tag uint64) *call {
	c := t.at(tag)
	if c == nil || c.channel != channel {
		return nil
	}
	return c
}

// remove takes the call out, and reports whether it was in.
func (t *callTable) remove(c *call) bool {
	switch {
	case t.alone == c:
		t.alone = nil
	case t.find(c.channel, c.tag) != c:
		return false
	default:
		t.slots[c.tag&uint64(len(t.slots)-1)] = nil
	}
	t.n--
	if t.n == 0 && len(t.slots) > keepSlots {
		t.slots = nil
	}
	return true
}

// grow doubles the table. It keeps calls apart, since their tags differed in fewer low bits already.
func (t *callTable) grow() {
	slots := make([]*call, max(minSlots, 2*len(t.slots)))
	mask := uint64(len(slots) - 1)
	for _, c := range t.slots {
		if c != nil {
			slots[c.tag&mask] = c
		}
	}
	t.slots = slots
}

// all calls f for each call.
func (t *callTable) all(f func(*call)) {
	if t.alone != nil {
		f(t.alone)
	}
	for _, c := range t.slots {
		if c != nil {
			f(c)
		}
	}
}
