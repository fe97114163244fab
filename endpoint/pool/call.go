package pool

import (
	"context"
	"errors"
	"net"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Do makes a request of one of the children and waits for its response, as pconn.Conn.Do does. While no child is
// there it waits for one. Beside the errors of Do there are ErrClosed, an *UnavailableError, and an *endpoint.ExitError
// for a call that was written to a child that then ended.
func (p *Pool) Do(ctx context.Context, req pconn.Request) (pconn.Response, error) {
	return p.do(ctx, &req, p.opts.Repeats)
}

// do is Do with so many repeats left.
func (p *Pool) do(ctx context.Context, req *pconn.Request, repeats int) (pconn.Response, error) {
	for {
		w, err := p.pick(ctx)
		if err != nil {
			return pconn.Response{}, err
		}
		resp, sent, err := w.Attempt(ctx, *req)
		p.done(w, err)
		if !w.again(req, sent, err, &repeats) {
			return resp, err
		}
	}
}

// leaves says that a child takes no new calls, and that this one was not begun: it ends when it has finished.
func leaves(err error) bool {
	return errors.Is(err, pconn.ErrDraining) || errors.Is(err, pconn.ErrGoingAway)
}

// again says whether a request that failed is to be made of another child.
func (w *worker) again(req *pconn.Request, sent bool, err error, repeats *int) bool {
	if err == nil {
		return false
	}
	end := w.Err()
	switch {
	case leaves(err):
		return true
	case !sent:
		return end != nil && errors.Is(err, end)
	case end == nil || !errors.Is(err, end) || !req.Idempotent || *repeats <= 0:
		return false
	}
	*repeats--
	return true
}

// Submit makes a request of one of the children and returns at once, with the Result that its response will arrive in,
// as pconn.Conn.Submit does. ctx bounds the wait for a child that takes it. The Result's errors are those of Do.
func (p *Pool) Submit(ctx context.Context, req pconn.Request) (*pconn.Result, error) {
	if err := p.begin(); err != nil {
		return nil, err
	}
	req.Payload = append([]byte(nil), req.Payload...) // it may have to be sent again
	w, inner, err := p.submit(ctx, &req)
	if err != nil {
		p.running.Done()
		return nil, err
	}
	outer, complete := pconn.NewResult(req.Decode)
	go func() {
		defer p.running.Done() // Close waits for it
		complete(p.follow(context.WithoutCancel(ctx), &req, w, inner, outer))
	}()
	return outer, nil
}

// submit submits the request to a child that takes it.
func (p *Pool) submit(ctx context.Context, req *pconn.Request) (*worker, *pconn.Result, error) {
	for {
		w, err := p.pick(ctx)
		if err != nil {
			return nil, nil, err
		}
		r, err := w.Submit(ctx, *req)
		if err == nil {
			return w, r, nil
		}
		p.done(w, err)
		none := 0
		if !w.again(req, false, err, &none) {
			return nil, nil, err
		}
	}
}

// follow waits for the outcome of a request that was submitted, and makes it of another child where that is called
// for. It gives up when outer is cancelled.
func (p *Pool) follow(ctx context.Context, req *pconn.Request, w *worker, inner, outer *pconn.Result) (pconn.Response, error) {
	select {
	case <-inner.Done():
	case <-outer.Done():
		inner.Cancel()
		<-inner.Done()
	}
	resp, err := inner.Wait(context.Background())
	p.done(w, err)
	repeats := p.opts.Repeats
	if !w.again(req, inner.Sent(), err, &repeats) {
		return resp, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	repeated := make(chan struct{})
	defer func() { <-repeated }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(repeated)
		select {
		case <-outer.Done():
			cancel()
		case <-stop:
		}
	}()
	return p.do(ctx, req, repeats)
}

// OpenStream opens a stream to one of the children, as pconn.Conn.OpenStream does. The stream stays with its child, and
// ends with it; it does not count among what is in flight. While no child is there it waits for one, and beside the errors
// of OpenStream there are those of Do.
func (p *Pool) OpenStream(ctx context.Context, name string, metadata pconn.Metadata) (*pconn.Stream, error) {
	return open(ctx, p, func(w *worker) (*pconn.Stream, error) { return w.OpenStream(ctx, name, metadata) })
}

// DialContext opens a stream to one of the children, as OpenStream and pconn.Conn.DialContext do, so that what takes a
// net.Conn works on a Pool.
func (p *Pool) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return open(ctx, p, func(w *worker) (net.Conn, error) { return w.DialContext(ctx, network, addr) })
}

// open has a child open a stream, and another one where the child is leaving or has ended.
func open[S any](ctx context.Context, p *Pool, dial func(*worker) (S, error)) (S, error) {
	for {
		w, err := p.pick(ctx)
		if err != nil {
			var none S
			return none, err
		}
		s, err := dial(w)
		p.done(w, err)
		if err == nil || ctx.Err() != nil || !leaves(err) && w.Err() == nil {
			return s, err
		}
		// Nothing was said on it yet: another child does as well.
	}
}

// Repeatable returns the Pool as a caller that sets Request.Idempotent in every request, for what takes no Request,
// such as pconn.Call.
func (p *Pool) Repeatable() endpoint.Caller { return repeatable{p} }

// repeatable is a Pool whose calls are all marked.
type repeatable struct{ *Pool }

func (r repeatable) Do(ctx context.Context, req pconn.Request) (pconn.Response, error) {
	req.Idempotent = true
	return r.Pool.Do(ctx, req)
}

func (r repeatable) Submit(ctx context.Context, req pconn.Request) (*pconn.Result, error) {
	req.Idempotent = true
	return r.Pool.Submit(ctx, req)
}
