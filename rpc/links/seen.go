package links

// idSet remembers which operations from beyond were seen. They are numbered upwards with the lowest bit set, so what is complete needs no
// memory: only those that came ahead of a lower one are kept, up to maxSeenGaps, after which the missing ones count as seen.
type idSet struct {
	next  OperationID // all below were seen
	ahead map[OperationID]struct{}
}

func newIDSet() idSet { return idSet{next: 1} }

func (s *idSet) has(id OperationID) bool {
	if id < s.next {
		return true
	}
	_, ok := s.ahead[id]
	return ok
}

func (s *idSet) add(id OperationID) {
	if id < s.next {
		return
	}
	if id == s.next {
		s.advance(id + 2)
		return
	}
	if s.ahead == nil {
		s.ahead = make(map[OperationID]struct{})
	}
	s.ahead[id] = struct{}{}
	if len(s.ahead) > maxSeenGaps {
		lowest := id
		for other := range s.ahead {
			lowest = min(lowest, other)
		}
		s.advance(lowest)
	}
}

// advance moves next up to at least id and over all that were seen from there.
func (s *idSet) advance(id OperationID) {
	s.next = id
	for len(s.ahead) > 0 {
		if _, ok := s.ahead[s.next]; !ok {
			return
		}
		delete(s.ahead, s.next)
		s.next += 2
	}
}

// earlyTickets holds tickets that came before the first of their operation. The oldest give way when there are too many.
type earlyTickets struct{ tickets []*Ticket }

func (h *earlyTickets) hold(t *Ticket) {
	if len(h.tickets) >= maxHeldTickets {
		h.tickets[0].Payload.Free()
		h.tickets = h.tickets[1:]
	}
	h.tickets = append(h.tickets, t)
}

func (h *earlyTickets) take(id OperationID) []*Ticket {
	var taken []*Ticket
	kept := h.tickets[:0]
	for _, t := range h.tickets {
		if t.ID == id {
			taken = append(taken, t)
		} else {
			kept = append(kept, t)
		}
	}
	h.tickets = kept
	return taken
}
