package links

import (
	"context"
	"sync"
)

// Recorder is a link that keeps every ticket it is handed: the mate of a link under test. Its zero value is ready.
type Recorder struct {
	near mate

	mu      sync.Mutex // guards tickets and changed
	tickets []*Ticket
	changed chan struct{}
}

// Accept keeps the ticket with a copy of its payload, and frees that so that the sender is not held back.
func (r *Recorder) Accept(t *Ticket) {
	if p := t.Payload; p != nil {
		kept := *t
		kept.Payload = &Payload{data: append([]byte{}, p.data...), size: p.size, refused: p.refused}
		p.Free()
		t = &kept
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tickets = append(r.tickets, t)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Join sets the link that Send hands tickets to.
func (r *Recorder) Join(link Link) { r.near.set(link) }

// Send hands a ticket to the link the recorder is joined to.
func (r *Recorder) Send(t *Ticket) { r.near.get().Accept(t) }

// Tickets returns what was recorded so far.
func (r *Recorder) Tickets() []*Ticket {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Ticket(nil), r.tickets...)
}

// Wait returns what was recorded as soon as enough says that it suffices, or when ctx ends, with its error.
func (r *Recorder) Wait(ctx context.Context, enough func([]*Ticket) bool) ([]*Ticket, error) {
	for {
		r.mu.Lock()
		tickets := append([]*Ticket(nil), r.tickets...)
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if enough(tickets) {
			return tickets, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return tickets, ctx.Err()
		}
	}
}

// Tap returns a link that stands for link and shows every ticket that passes to see: sent says whether it goes into link or comes out of
// it. See is called on the goroutine that hands the ticket on and must not call the link.
func Tap(link Link, see func(sent bool, t *Ticket)) Link {
	return &tap{link: link, see: see}
}

type tap struct {
	link Link
	see  func(sent bool, t *Ticket)
	near mate
}

func (p *tap) Accept(t *Ticket) {
	p.see(true, t)
	p.link.Accept(t)
}

func (p *tap) Join(link Link) {
	p.near.set(link)
	p.link.Join(tapReturn{p})
}

// tapReturn is the mate of a tapped link.
type tapReturn struct{ tap *tap }

func (r tapReturn) Accept(t *Ticket) {
	r.tap.see(false, t)
	r.tap.near.get().Accept(t)
}

func (tapReturn) Join(Link) {}
