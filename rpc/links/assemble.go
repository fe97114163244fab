package links

// takePiece checks credit and puts a ticket or a piece where it belongs. It returns what the peer did wrong.
func (c *Conn) takePiece(r *route, f *frame) string {
	r.window -= int64(len(f.piece))
	if r.window < 0 {
		return "more bytes than the window allows"
	}
	if f.seq < r.inSeq {
		if f.kind == frameTicket {
			return "a ticket twice"
		}
		// The rest of a payload that was refused for its size.
		r.owed += int64(len(f.piece))
		c.giveCredit(r)
		return ""
	}
	if f.seq > r.inSeq && !c.opts.Unordered {
		return "a ticket ahead of its turn"
	}
	in := r.arrival(f.seq)
	if in == nil && len(r.arrivals) >= maxHeldTickets {
		return "too many tickets ahead of their turn"
	}
	if f.kind == frameTicket {
		if in != nil && in.known {
			return "a ticket twice"
		}
		if in != nil {
			f.in.stash = in.stash
		}
		in = f.in
		if fault := c.takeTicket(r, f); fault != "" {
			return fault
		}
	} else if in == nil {
		if !c.opts.Unordered {
			return "a piece of no ticket"
		}
		in = &incoming{}
	}
	r.keep(f.seq, in)
	return c.addPiece(r, in, f)
}

func (r *route) arrival(seq uint64) *incoming {
	if seq == r.inSeq && r.current != nil {
		return r.current
	}
	return r.arrivals[seq]
}

func (r *route) keep(seq uint64, in *incoming) {
	if seq == r.inSeq {
		r.current = in
		return
	}
	if r.arrivals == nil {
		r.arrivals = make(map[uint64]*incoming)
	}
	r.arrivals[seq] = in
}

// takeTicket checks a ticket's payload against the allowance and the limit on its size, before memory is taken for it.
func (c *Conn) takeTicket(r *route, f *frame) string {
	in := f.in
	t := &in.ticket
	if t.Payload == nil {
		return ""
	}
	if r.payloads == 0 {
		return "more payloads than allowed"
	}
	r.payloads--
	in.total = int(f.total)
	p := t.Payload
	p.size = in.total
	if in.total > r.maxPayload {
		p.refused = true
		return ""
	}
	p.owner = r
	// A sender that begins with a large piece means it: what a small one states is believed as its bytes come.
	if size := min(in.total, statedTrust*len(f.piece)); size < pooledSize {
		p.data = make([]byte, 0, size)
	} else {
		p.data = c.buffers.Take(size)
		p.free = func() { c.buffers.GiveBack(p.data) }
	}
	return ""
}

// addPiece adds the bytes of a frame to the payload they belong to.
func (c *Conn) addPiece(r *route, in *incoming, f *frame) string {
	p := in.ticket.Payload
	switch {
	case p == nil && in.known:
		if f.kind == frameMore || len(in.stash) > 0 {
			return "a piece of no payload"
		}
		return ""
	case p != nil && p.refused:
		r.owed += int64(len(f.piece))
		c.giveCredit(r)
	case !in.known || f.kind == frameMore && f.offset != uint64(len(p.data)):
		return c.stash(in, f)
	case !in.add(f.piece):
		return "more bytes than the payload has"
	}
	for len(in.stash) > 0 {
		piece, ok := in.stash[uint64(len(p.data))]
		if !ok {
			break
		}
		delete(in.stash, uint64(len(p.data)))
		if !in.add(piece) {
			return "more bytes than the payload has"
		}
	}
	return ""
}

func (in *incoming) add(piece []byte) bool {
	p := in.ticket.Payload
	if len(piece) > in.total-len(p.data) {
		return false
	}
	p.data = append(p.data, piece...)
	return true
}

// stash keeps a piece that came before its turn; the window bounds how much that can be.
func (c *Conn) stash(in *incoming, f *frame) string {
	_, twice := in.stash[f.offset]
	if !c.opts.Unordered || twice || len(in.stash) >= maxHeldTickets {
		return "a piece out of its place"
	}
	if in.stash == nil {
		in.stash = make(map[uint64][]byte)
	}
	in.stash[f.offset] = append([]byte(nil), f.piece...)
	return ""
}
