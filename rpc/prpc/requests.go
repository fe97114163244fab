package prpc

// requests are the calls of the peer that run, by their ids. Ids that are numbers, as nearly all are, are found faster in a map of
// their own. The zero value can be read.
type requests struct {
	numbered map[uint64]*Request
	others   map[string]*Request
}

func newRequests() requests {
	return requests{numbered: map[uint64]*Request{}, others: map[string]*Request{}}
}

// get returns nil if there is none.
func (q *requests) get(id callID) *Request {
	if id.other != "" {
		return q.others[id.other]
	}
	return q.numbered[id.number]
}

func (q *requests) put(r *Request) {
	if r.id.other != "" {
		q.others[r.id.other] = r
		return
	}
	q.numbered[r.id.number] = r
}

func (q *requests) remove(id callID) {
	if id.other != "" {
		delete(q.others, id.other)
		return
	}
	delete(q.numbered, id.number)
}

func (q *requests) count() int { return len(q.numbered) + len(q.others) }

// each calls f with every one of them.
func (q *requests) each(f func(*Request)) {
	for _, r := range q.numbered {
		f(r)
	}
	for _, r := range q.others {
		f(r)
	}
}
