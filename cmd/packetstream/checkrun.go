package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// checkRun is one run of the checks.
type checkRun struct {
	checkOptions
	conn    *endpoint.Conn
	service *testservice.Service // that the peer may ask back
	out     io.Writer
	failed  int
}

// differenceError is an answer other than expected. Any other error of a check ends the run.
type differenceError string

func (e differenceError) Error() string { return string(e) }

func differencef(format string, args ...any) error {
	return differenceError(fmt.Sprintf(format, args...))
}

// all makes every check. The error is errFailed if there were differences, or what kept a check from coming to
// an end.
func (r *checkRun) all(ctx context.Context) error {
	for _, x := range exchanges() {
		if err := r.report(x.name, x.check(ctx, r.conn)); err != nil {
			return err
		}
	}
	if err := r.report("out of order", r.order(ctx)); err != nil {
		return err
	}
	if err := r.report(fmt.Sprintf("%d requests, %s", r.requests, r.mode), r.bulk(ctx)); err != nil {
		return err
	}
	if r.failed == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(r.out, "%d failed\n", r.failed); err != nil {
		return err
	}
	return errFailed
}

// report prints the outcome of a check. It returns an error that ends the run.
func (r *checkRun) report(name string, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(r.out, "ok   %s\n", name)
		return err
	}
	r.failed++
	if _, err := fmt.Fprintf(r.out, "FAIL %s: %v\n", name, err); err != nil {
		return err
	}
	if !errors.As(err, new(differenceError)) {
		return err
	}
	return nil
}

// order sees that a quick answer overtakes a slow one. A machine can stand still for longer than the slow one takes,
// so a slow answer that comes first gets more time before it tells anything of the peer.
func (r *checkRun) order(ctx context.Context) (err error) {
	for _, ms := range []int{300, 1000, 3000} {
		if err = r.overtake(ctx, fmt.Sprintf("%d:slow", ms)); !errors.Is(err, errSlowFirst) {
			break
		}
	}
	return err
}

const errSlowFirst = differenceError("the slow answer came first")

func (r *checkRun) overtake(ctx context.Context, sleep string) error {
	slow, err := r.conn.Submit(ctx, pconn.Request{Type: testservice.Sleep, Flags: 1, Payload: text(sleep)})
	if err != nil {
		return err
	}
	quick := exchange{typ: testservice.Bytes, payload: text("q"), want: ok(0, "q")}
	if err := quick.check(ctx, r.conn); err != nil {
		return err
	}
	select {
	case <-slow.Done():
		return errSlowFirst
	default:
	}
	late := exchange{want: ok(1, sleep)}
	return late.compare(slow.Wait(ctx))
}

// bulk makes many requests of different sizes and checks each answer.
func (r *checkRun) bulk(ctx context.Context) error {
	window := r.window
	if r.mode == "seq" {
		window = 1
	}
	askedBefore := r.service.Count(testservice.Pair)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, window)
	began := time.Now()
	for range min(window, r.requests) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(r.requests); i = next.Add(1) - 1 {
				x := r.bulkExchange(int(i))
				if err := x.check(ctx, r.conn); err != nil {
					errs <- fmt.Errorf("request %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	took := time.Since(began)
	if err := <-errs; err != nil {
		return err
	}
	if asked := r.service.Count(testservice.Pair) - askedBefore; r.mode == "duplex" && asked != r.requests {
		return differencef("the peer asked back %d times, not %d", asked, r.requests)
	}
	_, err := fmt.Fprintf(r.out, "     %.0f requests/s\n", float64(r.requests)/took.Seconds())
	return err
}

func (r *checkRun) bulkExchange(i int) exchange {
	body := fmt.Sprintf("%d:%s", i, strings.Repeat("x", i%700))
	x := exchange{typ: testservice.Pair, flags: uint64(i), payload: text(body), want: ok(uint64(i), body)}
	if r.mode == "duplex" {
		x.typ, x.payload = testservice.Back, back(testservice.Pair, body)
	}
	return x
}
