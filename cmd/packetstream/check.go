package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

func newCheckCommand() *cobra.Command {
	var f connFlags
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [flags] ENDPOINT | -- CMD ARGS...",
		Short: "Check a peer that serves the test service",
		Long: `Check calls a peer that offers the test service (packetstream serve --handler test, or another
implementation of it), offers the same service to it, and compares every answer. It prints a line for
each check and exits with 1 if one found a difference.`,
		Example: "  packetstream check -- packetstream serve --handler test\n  packetstream check --mode duplex --requests 2000 -- python3 server.py",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			if o.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, o.timeout)
				defer cancel()
			}
			o.service = testservice.New(version())
			c, err := connect(ctx, cmd, args, f.options(o.service))
			if err != nil {
				return err
			}
			defer f.done()
			o.out = cmd.OutOrStdout()
			err = o.run(ctx, c)
			return errors.Join(err, hangUp(ctx, c))
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&o.requests, "requests", 1000, "requests of the bulk check")
	cmd.Flags().StringVar(&o.mode, "mode", "pipelined", "of the bulk check: seq, pipelined, or duplex, where each request makes the peer ask back")
	cmd.Flags().IntVar(&o.window, "window", 64, "requests in flight in the bulk check")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "time for everything, 0 for no limit")
	return cmd
}

// checkOptions are one run of the checks.
type checkOptions struct {
	requests int
	mode     string
	window   int
	timeout  time.Duration
	service  *testservice.Service // that the peer may ask back
	out      io.Writer
	failed   int
}

// exchange is a request and the answer it should have.
type exchange struct {
	name    string
	typ     uint64
	flags   uint64
	payload []byte
	want    pconn.Response
}

func ok(flags uint64, payload string) pconn.Response {
	return pconn.Response{OK: true, Flags: flags, Payload: []byte(payload)}
}

func failed() pconn.Response {
	return pconn.Response{Payload: []byte("exception during handler")}
}

func text(s string) []byte { return []byte(s) }

// back is the payload that makes the peer ask typ back.
func back(typ uint64, payload string) []byte {
	return append(packet.AppendUint(nil, typ), payload...)
}

// exchanges are the kinds of requests and answers, one by one.
func exchanges() []exchange {
	mib := string(testservice.HugeBytes(1 << 20))
	return []exchange{
		{"none", testservice.None, 5, text("ignored"), ok(0, "")},
		{"flags", testservice.Flags, 0x1234, text("ignored"), ok(0x1234, "")},
		{"flags zero", testservice.Flags, 0, nil, ok(0, "")},
		{"flags 2^40", testservice.Flags, 1 << 40, nil, ok(1<<40, "")},
		{"bytes", testservice.Bytes, 7, text("hello\x00\xff"), ok(0, "hello\x00\xff")},
		{"bytes empty", testservice.Bytes, 0, nil, ok(0, "")},
		{"text", testservice.Text, 7, text("plain"), ok(0, "plain")},
		{"text not ASCII", testservice.Text, 0, text("naïve 漢字 \U0001f600"), ok(0, "naïve 漢字 \U0001f600")},
		{"text lone surrogates", testservice.Text, 0, text("a\xed\xa0\x80b\xed\xbf\xbfc"), ok(0, "a&#55296;b&#57343;c")},
		{"text surrogate pair as two", testservice.Text, 0, text("\xed\xa0\xbd\xed\xb8\x80"), ok(0, "&#55357;&#56832;")},
		{"text bad UTF-8", testservice.Text, 0, text("\xff\xfe"), failed()},
		{"flags and bytes", testservice.Pair, 99, text("xyz"), ok(99, "xyz")},
		{"failing", testservice.Raise, 3, text("xyz"), failed()},
		{"sleeping", testservice.Sleep, 2, text("20:tail"), ok(2, "20:tail")},
		{"back to none", testservice.Back, 0, back(testservice.None, ""), ok(0, "")},
		{"back to flags and bytes", testservice.Back, 77, back(testservice.Pair, "abc"), ok(77, "abc")},
		{"back to failing", testservice.Back, 0, back(testservice.Raise, ""), failed()},
		{"back to unknown", testservice.Back, 0, back(300, ""), failed()},
		{"back to back", testservice.Back, 6, back(testservice.Back, string(back(testservice.Pair, "deep"))), ok(6, "deep")},
		{"huge 0", testservice.Huge, 0, text("0"), ok(0, "")},
		{"huge 1", testservice.Huge, 0, text("1"), ok(0, "\x00")},
		{"huge 16383", testservice.Huge, 0, text("16383"), ok(0, string(testservice.HugeBytes(16383)))},
		{"huge 3000000", testservice.Huge, 0, text("3000000"), ok(0, string(testservice.HugeBytes(3000000)))},
		{"bytes 1 MiB", testservice.Bytes, 0, text(mib), ok(0, mib)},
		{"unknown type", 1000, 0, nil, failed()},
	}
}

// run makes every check and returns errQuiet if one failed.
func (o *checkOptions) run(ctx context.Context, c *endpoint.Conn) error {
	switch {
	case o.mode != "seq" && o.mode != "pipelined" && o.mode != "duplex":
		return usagef("--mode is seq, pipelined or duplex, not %q", o.mode)
	case o.requests < 0 || o.window < 1:
		return usagef("--requests and --window count requests")
	}
	for _, x := range exchanges() {
		o.report(x.name, x.check(ctx, c))
	}
	o.report("out of order", checkOrder(ctx, c))
	o.report(fmt.Sprintf("%d requests, %s", o.requests, o.mode), o.bulk(ctx, c))
	if o.failed > 0 {
		fmt.Fprintf(o.out, "%d failed\n", o.failed)
		return errQuiet
	}
	return nil
}

func (o *checkOptions) report(name string, err error) {
	if err != nil {
		o.failed++
		fmt.Fprintf(o.out, "FAIL %s: %v\n", name, err)
		return
	}
	fmt.Fprintf(o.out, "ok   %s\n", name)
}

func (x *exchange) check(ctx context.Context, c *endpoint.Conn) error {
	resp, err := c.Do(ctx, pconn.Request{Type: x.typ, Flags: x.flags, Payload: x.payload})
	var remote *pconn.RemoteError
	if err != nil && !errors.As(err, &remote) {
		return err
	}
	return x.compare(resp)
}

func (x *exchange) compare(got pconn.Response) error {
	if got.OK != x.want.OK || got.Flags != x.want.Flags || !bytes.Equal(got.Payload, x.want.Payload) {
		return fmt.Errorf("got %s, want %s", show(got), show(x.want))
	}
	return nil
}

func show(r pconn.Response) string {
	p := r.Payload
	more := ""
	if len(p) > 60 {
		p, more = p[:60], fmt.Sprintf("... (%d)", len(r.Payload))
	}
	return fmt.Sprintf("(%v, %#x, %q%s)", r.OK, r.Flags, p, more)
}

// checkOrder sees that a quick answer overtakes a slow one.
func checkOrder(ctx context.Context, c *endpoint.Conn) error {
	slow, err := c.Submit(ctx, pconn.Request{Type: testservice.Sleep, Payload: text("300")})
	if err != nil {
		return err
	}
	if _, err := c.Do(ctx, pconn.Request{Type: testservice.Bytes, Payload: text("q")}); err != nil {
		return err
	}
	select {
	case <-slow.Done():
		return errors.New("the slow answer came first")
	default:
	}
	_, err = slow.Wait(ctx)
	return err
}

// bulk makes many requests of different sizes and checks each answer.
func (o *checkOptions) bulk(ctx context.Context, c *endpoint.Conn) error {
	window := o.window
	if o.mode == "seq" {
		window = 1
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, window)
	began := time.Now()
	for range window {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(o.requests); i = next.Add(1) - 1 {
				x := o.bulkExchange(int(i))
				if err := x.check(ctx, c); err != nil {
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
	fmt.Fprintf(o.out, "     %.0f requests/s\n", float64(o.requests)/took.Seconds())
	if o.mode == "duplex" && o.service.Count(testservice.Pair) < o.requests {
		return fmt.Errorf("the peer asked back %d times only", o.service.Count(testservice.Pair))
	}
	return nil
}

func (o *checkOptions) bulkExchange(i int) exchange {
	body := fmt.Sprintf("%d:%s", i, strings.Repeat("x", i%700))
	x := exchange{typ: testservice.Pair, flags: uint64(i), payload: text(body), want: ok(uint64(i), body)}
	if o.mode == "duplex" {
		x.typ, x.payload = testservice.Back, back(testservice.Pair, body)
	}
	return x
}
