package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// calls is one request made many times, a number of them in flight.
type calls struct {
	conn    *endpoint.Conn
	request pconn.Request
	count   int
	window  int // how many are in flight, or wait to be printed, at a time
	print   *callPrinter
}

// called is the outcome of one request.
type called struct {
	n    int
	typ  uint64
	resp pconn.Response
	err  error // nil for an ok response
	took time.Duration
}

// run makes the requests and prints the outcomes in the requests' order. The error is errFailed if requests
// failed and the connection did not, the connection's, that of ctx, or that of standard output. However many
// requests there are, at most window outcomes are kept.
func (c *calls) run(ctx context.Context) error {
	asking, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	queue := make(chan chan called, c.window-1) // the one more is with the printer
	wg.Go(func() {
		defer close(queue)
		for n := range c.count {
			outcome := make(chan called, 1)
			select {
			case queue <- outcome:
			case <-asking.Done():
				return
			}
			wg.Go(func() { outcome <- c.one(asking, n) })
		}
	})
	err := c.printAll(ctx, queue)
	flushErr := c.print.flush()
	if err == nil || err == errFailed && flushErr != nil {
		err = flushErr
	}
	return err
}

// printAll prints the outcomes as they come, until one that ends it all.
func (c *calls) printAll(ctx context.Context, queue <-chan chan called) error {
	var failed error
	printed := 0
	for outcome := range queue {
		r := <-outcome
		if r.err != nil {
			if !c.concernsOne(r.err) {
				return r.err
			}
			failed = errFailed
		}
		if err := c.print.outcome(&r); err != nil {
			return err
		}
		printed++
		if len(queue) > 0 {
			continue
		}
		if err := c.print.flush(); err != nil {
			return err
		}
	}
	if printed < c.count {
		return ctx.Err()
	}
	return failed
}

func (c *calls) one(ctx context.Context, n int) called {
	began := time.Now()
	resp, err := c.conn.Do(ctx, c.request)
	return called{n, c.request.Type, resp, err, time.Since(began)}
}

// concernsOne reports whether an error is that of a request alone: a rejection, or an answer over a limit.
func (c *calls) concernsOne(err error) bool {
	return errors.As(err, new(*pconn.RemoteError)) || errors.As(err, new(*pconn.LimitError)) && c.conn.Err() == nil
}
