package pconn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Result is the outcome, now or later, of a request made by Submit. All methods may be called
// concurrently and any number of times.
type Result struct {
	conn   *Conn // nil if it was made by NewResult
	call   call
	done   chan struct{} // closed when call.resp and call.err are set
	decode func(Response) (any, error)
	taken  atomic.Bool // somebody sets the outcome of one that has no connection

	decodeOnce sync.Once
	value      any
	valueErr   error
}

// NewResult returns a Result for what stands for a connection, such as a pool of them, and the func that gives it its
// outcome. That reports false, and does nothing, if the outcome is there: by an earlier call, or by Cancel, which Done
// tells of. decode is the request's, or nil.
func NewResult(decode func(Response) (any, error)) (r *Result, complete func(Response, error) bool) {
	r = &Result{decode: decode, done: make(chan struct{})}
	return r, r.complete
}

func (r *Result) complete(resp Response, err error) bool {
	if !r.taken.CompareAndSwap(false, true) {
		return false
	}
	r.call.resp, r.call.err = resp, err
	close(r.done)
	return true
}

// Sent reports whether any of the request may have left: false says that the peer cannot begin with it, since nothing has
// left or will. It says so once the Result has failed, and is true before.
func (r *Result) Sent() bool {
	select {
	case <-r.done:
		return !r.call.unsent
	default:
		return true
	}
}

// Done returns a channel that is closed when the outcome is there.
func (r *Result) Done() <-chan struct{} { return r.done }

// Wait waits for the response. The error is nil only for an ok response; a rejection is a *RemoteError
// and is also in the Response. When ctx ends first the error is exactly ctx.Err(), and the request
// stays outstanding: use Cancel to give it up. After Cancel the error is ErrCancelled.
func (r *Result) Wait(ctx context.Context) (Response, error) {
	if conn := r.waitsOn(ctx); conn != nil {
		in, err := conn.leavePlace(ctx)
		if err != nil {
			return Response{}, err
		}
		if in != nil {
			defer conn.rejoinPlace(in)
		}
	}
	select {
	case <-r.done:
		return r.call.resp, r.call.err
	default:
	}
	select {
	case <-r.done:
		return r.call.resp, r.call.err
	case <-ctx.Done():
		if r.conn != nil {
			r.conn.logText()
		}
		return Response{}, ctx.Err()
	}
}

// waitsOn returns the connection whose handlers' places matter to who waits: one without a connection of its own may
// depend on any, above all on that which the waiting handler belongs to.
func (r *Result) waitsOn(ctx context.Context) *Conn {
	if r.conn != nil {
		return r.conn
	}
	if h := handlerOf(ctx); h != nil {
		return h.conn()
	}
	return nil
}

// errDecodePanicked is for those who come after the one that Decode panicked on.
var errDecodePanicked = errors.New("pconn: Decode panicked")

// Value waits as Wait does and returns what the request's Decode made of the ok response. Decode runs
// once, on the first goroutine that comes here with the response there; everybody gets its value and
// its error. Without a Decode the value is the Response.
func (r *Result) Value(ctx context.Context) (any, error) {
	resp, err := r.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if r.decode == nil {
		return resp, nil
	}
	r.decodeOnce.Do(func() {
		r.valueErr = errDecodePanicked // stays if it does
		r.value, r.valueErr = r.decode(resp)
	})
	return r.value, r.valueErr
}

// Cancel gives the request up: whoever waits gets ErrCancelled, and the response is dropped when it
// comes. It reports false if the outcome was there already.
func (r *Result) Cancel() bool {
	if r.conn == nil {
		return r.complete(Response{}, ErrCancelled)
	}
	if !r.conn.takeBack(&r.call, ErrCancelled) {
		return false
	}
	r.call.err = ErrCancelled
	r.call.complete()
	return true
}
