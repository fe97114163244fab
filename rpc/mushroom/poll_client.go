package mushroom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// poller carries a session of the client by HTTP: one goroutine sends, one POST at a time, so that
// messages cannot overtake each other, and one polls.
//
// Every POST begins with the first message that no earlier POST was confirmed for. So whenever a copy
// of it arrives, however late, the server knows all messages before it, and there is never a gap.
type poller struct {
	*client
	session *Session
	address string
}

// startPoll starts the session's two goroutines. The sender sees the poller and the session out; Done
// tells.
func (c *client) startPoll(session *Session, address string) {
	p := &poller{client: c, session: session, address: address}
	ctx, cancel := context.WithCancel(context.Background())
	abort := func() { cancel() }
	session.abort.Store(&abort)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		p.poll(ctx)
	}()
	go func() {
		p.send(ctx)
		cancel()
		<-polled
		c.release()
		close(session.closed)
		session.finish()
	}()
}

// send posts what is queued until the session is over, and then what is left of it.
func (p *poller) send(ctx context.Context) {
	for {
		var texts [][]byte
		var last int64
		var over bool
		err := p.session.wait(ctx, func(s *state) bool {
			if over = s.ended != nil; over && !s.flush {
				return true
			}
			texts, last = s.batch(p.limits.MaxMessage)
			return over || len(texts) > 0
		})
		if err != nil || over && len(texts) == 0 {
			p.sayGoodbye(ctx)
			return
		}
		_, err = p.exchange(ctx, joinArray(texts), p.opts.PostTimeout)
		if errors.Is(err, ErrExpired) {
			// The server may have closed the session, and may still have something for a poll.
			_ = p.session.wait(ctx, func(s *state) bool { return s.ended != nil })
			return
		}
		if err != nil {
			p.session.end(fmt.Errorf("post: %w", err), false)
			return
		}
		// A POST that succeeded says as much as a heartbeat, which may only come with the end of a poll.
		p.session.update(func(s *state) { _ = s.acknowledge(IntID(last)) }) // our own ids have an order
	}
}

// sayGoodbye tells the server that this end closed the session. The session may be over there already.
func (p *poller) sayGoodbye(ctx context.Context) {
	if !errors.Is(p.session.Err(), ErrClosed) {
		return
	}
	bye := joinArray([][]byte{Message{Kind: KindDisconnect}.append(nil)})
	if _, err := p.exchange(ctx, bye, p.opts.PostTimeout); err != nil {
		p.log.Debug("mushroom: goodbye not delivered", "session", p.session.id, "error", err)
	}
}

// poll asks for messages until the session is over.
func (p *poller) poll(ctx context.Context) {
	for p.session.Err() == nil {
		if err := p.pollOnce(ctx); err != nil {
			p.session.end(err, false)
			return
		}
	}
}

func (p *poller) pollOnce(ctx context.Context) error {
	var last ID
	p.session.look(func(s *state) bool {
		last = s.last
		return true
	})
	heartbeat := joinArray([][]byte{Message{Kind: KindHeartbeat, ID: last}.append(nil)})
	text, err := p.exchange(ctx, heartbeat, p.opts.PollWait)
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	size := len(text)
	rest, err := openArray(text, p.limits.MaxDepth+1)
	if err != nil {
		return err
	}
	for len(rest) > 0 {
		if err := p.session.wait(ctx, func(s *state) bool { return !s.crowded() }); err != nil {
			return err
		}
		text, rest = nextElement(rest)
		m, err := p.session.parse(text, size)
		if err != nil {
			return err
		}
		if err := p.session.HandleMessage(m); err != nil {
			return err
		}
		if m.Kind == KindDisconnect {
			return ErrDisconnected
		}
	}
	return nil
}

// exchange posts a body until the server has answered it, said that it never will, or failed for
// RetryTimeout.
func (p *poller) exchange(ctx context.Context, body []byte, timeout time.Duration) ([]byte, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 20 * time.Millisecond
	pause.MaxInterval = 2 * time.Second
	var failing time.Time // since when; a poll that waits long before it fails may still be repeated
	return backoff.Retry(ctx, func() ([]byte, error) {
		text, err := p.attempt(ctx, body, timeout)
		if err != nil && failing.IsZero() {
			failing = time.Now()
		}
		if err != nil && time.Since(failing) > p.opts.RetryTimeout {
			return nil, backoff.Permanent(err)
		}
		return text, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, after time.Duration) {
			p.log.Info("mushroom: exchange is repeated", "session", p.session.id, "after", after, "error", err)
		}))
}

func (p *poller) attempt(ctx context.Context, body []byte, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, text, err := p.client.post(ctx, p.address, body)
	if errors.Is(err, ErrTooLarge) {
		return nil, backoff.Permanent(err)
	}
	if err != nil {
		return nil, err
	}
	return text, verdict(status)
}

// verdict says what a status means: nil, an error worth another attempt, or a permanent one.
func verdict(status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return backoff.Permanent(ErrExpired)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &StatusError{status}
	}
	return backoff.Permanent(&StatusError{status})
}
