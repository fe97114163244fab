package mushroom

import (
	"sync"
	"time"
)

// presence ends a session whose client stays away. The zero value waits for nobody.
type presence struct {
	timeout time.Duration
	expire  func()

	// mu guards what follows. expire is called without it.
	mu     sync.Mutex
	timer  *time.Timer // nil if the session was over before the wait began
	due    time.Time   // when a client that does not come has missed it
	visits int         // exchanges in progress
	over   bool
}

// expect starts the wait for the client's first visit.
func (p *presence) expect(timeout time.Duration, expire func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.timeout, p.expire = timeout, expire
	p.due = time.Now().Add(timeout)
	p.timer = time.AfterFunc(timeout, p.missed)
}

// missed may come late: a visit may have come and gone since the timer was due, and begun a new wait.
func (p *presence) missed() {
	p.mu.Lock()
	missed := p.visits == 0 && !p.over && !time.Now().Before(p.due)
	// Whoever comes from here on is too late, rather than cut short.
	p.over = p.over || missed
	p.mu.Unlock()
	if missed {
		p.expire()
	}
}

// enter begins a visit, which leave ends, unless the client came too late.
func (p *presence) enter() (ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.visits++
	if p.timer != nil {
		p.timer.Stop()
	}
	return true
}

func (p *presence) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.visits--
	if p.visits == 0 && !p.over {
		p.due = time.Now().Add(p.timeout)
		p.timer.Reset(p.timeout)
	}
}

// repeat calls f once after the interval, unless the session is over by then.
func (p *presence) repeat(interval time.Duration, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(interval, f)
}

// gone ends all waiting.
func (p *presence) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
