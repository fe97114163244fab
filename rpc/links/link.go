package links

import "sync"

// Link takes tickets and has a mate to which it hands the tickets that come from beyond it.
type Link interface {
	// Accept takes a ticket. It does not wait for an application, may be called from any goroutine, and the tickets of one operation
	// must be handed over in their order. The caller holds no lock that its own Accept needs.
	Accept(*Ticket)
	// Join sets the mate. Joining nil is joining [Null].
	Join(Link)
}

// Null swallows tickets and has no use for a mate.
var Null Link = null{}

type null struct{}

func (null) Accept(t *Ticket) { t.Payload.Free() }
func (null) Join(Link)        {}

// Join makes a and b each other's mate. A link that starts when it is joined, as a [Conn] does, is joined last, so that its mate can answer
// what comes at once; of two others a learns of b first.
func Join(a, b Link) {
	if _, ok := a.(startsJoined); ok {
		a, b = b, a
	}
	a.Join(b)
	b.Join(a)
}

// startsJoined are links that hand tickets on as soon as they have a mate.
type startsJoined interface{ startsJoined() }

func (*Conn) startsJoined()      {}
func (*splitFace) startsJoined() {}

// briefLink is a link that says whether it has kept a ticket, whose memory can be used again if not.
type briefLink interface{ acceptBriefly(*Ticket) (kept bool) }

// handOver has a link accept a ticket, and says whether it may have kept it.
func handOver(link Link, t *Ticket) (kept bool) {
	if brief, ok := link.(briefLink); ok {
		return brief.acceptBriefly(t)
	}
	link.Accept(t)
	return true
}

// connBelow is the connection that a link is or stands for, nil if there is none.
func connBelow(link Link) *Conn {
	for link != nil {
		if conn, ok := link.(*Conn); ok {
			return conn
		}
		outer, ok := link.(interface{ Unwrap() Link })
		if !ok {
			return nil
		}
		link = outer.Unwrap()
	}
	return nil
}

// mate is the place for a link's mate.
type mate struct {
	mu   sync.RWMutex // guards link; nothing is called under it
	link Link
}

func (m *mate) set(link Link) {
	if link == nil {
		link = Null
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.link = link
}

func (m *mate) get() Link {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.link == nil {
		return Null
	}
	return m.link
}

// Pipe returns the two ends of a link in memory: what one end accepts, the other end's mate is handed on the same goroutine.
func Pipe() (Link, Link) {
	a, b := &pipeEnd{}, &pipeEnd{}
	a.far, b.far = b, a
	return a, b
}

type pipeEnd struct {
	near mate
	far  *pipeEnd
}

func (p *pipeEnd) Join(link Link) { p.near.set(link) }

// Accept renames the operation on its way, because what is one side's own operation comes from beyond for the other.
func (p *pipeEnd) Accept(t *Ticket) {
	renamed := *t
	renamed.ID ^= 1
	p.far.near.get().Accept(&renamed)
}

// Split parts a link in two, so that one mate begins operations on it (calls) and another serves those that come from beyond (serves).
// The link itself is joined once both have a mate, so that no operation arrives before somebody serves it.
func Split(link Link) (calls, serves Link) {
	s := &splitter{link: link}
	s.calls.splitter, s.serves.splitter = s, s
	return &s.calls, &s.serves
}

type splitter struct {
	link          Link
	calls, serves splitFace

	mu     sync.Mutex // guards joined
	joined bool
}

// Accept is the link's mate's: it takes what comes from beyond.
func (s *splitter) Accept(t *Ticket) { s.acceptBriefly(t) }

func (s *splitter) acceptBriefly(t *Ticket) (kept bool) {
	if t.ID.fromBeyond() {
		return handOver(s.serves.near.get(), t)
	}
	return handOver(s.calls.near.get(), t)
}

func (s *splitter) Join(Link) {}

// MaxPayload answers for the serving side, because the calling side states its limit with each operation.
func (s *splitter) MaxPayload() int {
	if limiter, ok := s.serves.near.get().(payloadLimiter); ok {
		return limiter.MaxPayload()
	}
	return 0
}

func (s *splitter) faceJoined() {
	if !s.calls.hasMate() || !s.serves.hasMate() {
		return
	}
	s.mu.Lock()
	first := !s.joined
	s.joined = true
	s.mu.Unlock()
	if first {
		s.link.Join(s)
	}
}

// splitFace is one of the two sides of a splitter.
type splitFace struct {
	splitter *splitter
	near     mate
}

func (f *splitFace) Accept(t *Ticket) { f.splitter.link.Accept(t) }

func (f *splitFace) acceptBriefly(t *Ticket) (kept bool) { return handOver(f.splitter.link, t) }

func (f *splitFace) Join(link Link) {
	f.near.set(link)
	f.splitter.faceJoined()
}

func (f *splitFace) hasMate() bool {
	f.near.mu.RLock()
	defer f.near.mu.RUnlock()
	return f.near.link != nil
}

// Unwrap returns the link that was split.
func (f *splitFace) Unwrap() Link { return f.splitter.link }
