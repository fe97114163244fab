package prpc

// requests are the calls of the peer that run, by their ids. Nearly all ids are numbers. The zero value can be read.
type requests struct {
	numbered numbered[Request]
	others   map[string]*Request
}

// get returns nil if there is none.
func (q *requests) get(id callID) *Request {
	if id.other != "" {
		return q.others[id.other]
	}
	return q.numbered.get(id.number)
}

func (q *requests) put(r *Request) {
	if r.id.other != "" {
		q.others[r.id.other] = r
		return
	}
	q.numbered.put(r.id.number, r)
}

func (q *requests) remove(id callID) {
	if id.other != "" {
		delete(q.others, id.other)
		return
	}
	q.numbered.remove(id.number)
}

func (q *requests) count() int { return q.numbered.count + len(q.others) }

// each calls f with every one of them.
func (q *requests) each(f func(*Request)) {
	q.numbered.each(f)
	for _, r := range q.others {
		f(r)
	}
}
