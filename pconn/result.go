package pconn

import (
	"context"
	"errors"
	"sync"
)

// Result is the outcome, now or later, of a request made by Submit. All methods may be called
// concurrently and any number of times.
type Result struct {
	conn   *Conn
	call   call
	done   chan struct{} // closed when call.resp and call.err are set
	decode func(Response) (any, error)

	decodeOnce sync.Once
	value      any
	valueErr   error
}

// Done returns a channel that is closed when the outcome is there.
func (r *Result) Done() <-chan struct{} { return r.done }

// Wait waits for the response. The error is nil only for an ok response; a rejection is a *RemoteError
// and is also in the Response. When ctx ends first the error is exactly ctx.Err(), and the request
// stays outstanding: use Cancel to give it up. After Cancel the error is ErrCancelled.
func (r *Result) Wait(ctx context.Context) (Response, error) {
	in, err := r.conn.leavePlace(ctx)
	if err != nil {
		return Response{}, err
	}
	if in != nil {
		defer r.conn.rejoinPlace(in)
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
		r.conn.logText()
		return Response{}, ctx.Err()
	}
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
	if !r.conn.takeBack(&r.call) {
		return false
	}
	r.call.err = ErrCancelled
	r.call.complete()
	return true
}
