package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

func newCallCommand() *cobra.Command {
	var f connFlags
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call [flags] ENDPOINT | -- CMD ARGS...",
		Short: "Send requests and print the responses",
		Long: `Call sends requests and prints each response's payload, followed by a newline. Flags of a response are
told on standard error. With --json each response is one object a line:

  {"n":0,"ok":true,"type":1,"flags":5,"payload":"text","encoding":"utf-8","ms":0.21}

with n counting from 0 in the order of the requests, and encoding "base64" for a payload that is not
text. A rejection exits with 1 and the peer's text; --json prints it like the others.`,
		Example: `  packetstream call --type 2 --payload hello -- packetstream serve --handler test
  packetstream call --type 4 --flags 7 --payload - tcp:127.0.0.1:7000 < file
  packetstream call --count 1000 --in-flight 64 --json unix:/run/helper.sock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			if o.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, o.timeout)
				defer cancel()
			}
			if err := o.readPayload(cmd.InOrStdin()); err != nil {
				return err
			}
			c, err := connect(ctx, cmd, args, f.options(nil))
			if err != nil {
				return err
			}
			defer f.done()
			err = o.run(ctx, c, cmd)
			return errors.Join(err, hangUp(ctx, c))
		},
	}
	f.add(cmd)
	cmd.Flags().Uint64Var(&o.typ, "type", 0, "request type")
	cmd.Flags().Uint64Var(&o.flags, "flags", 0, "request flags")
	cmd.Flags().StringVar(&o.payload, "payload", "", "request payload; - reads standard input to its end")
	cmd.Flags().IntVar(&o.count, "count", 1, "how many requests")
	cmd.Flags().IntVar(&o.inFlight, "in-flight", 1, "how many of them at a time")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "time for everything, 0 for no limit")
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return cmd
}

type callOptions struct {
	typ, flags uint64
	payload    string
	count      int
	inFlight   int
	timeout    time.Duration
	json       bool
	body       []byte
}

func (o *callOptions) readPayload(stdin io.Reader) error {
	if o.count < 0 || o.inFlight < 1 {
		return usagef("--count and --in-flight count requests")
	}
	o.body = []byte(o.payload)
	if o.payload != "-" {
		return nil
	}
	var err error
	o.body, err = io.ReadAll(io.LimitReader(stdin, pconn.DefaultMaxPayload+1))
	return err
}

// called is the outcome of one request.
type called struct {
	resp pconn.Response
	err  error
	took time.Duration
}

// run makes the requests and prints the outcomes in the requests' order.
func (o *callOptions) run(ctx context.Context, c *endpoint.Conn, cmd *cobra.Command) error {
	ctx, cancel := context.WithCancel(ctx)
	out := bufio.NewWriter(cmd.OutOrStdout())
	// At most as many outcomes wait to be printed as requests may be in flight.
	queue := make(chan chan called, o.inFlight-1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer close(queue)
		for range o.count {
			outcome := make(chan called, 1)
			select {
			case queue <- outcome:
			case <-ctx.Done():
				return
			}
			wg.Go(func() { outcome <- o.one(ctx, c) })
		}
	})
	var rejected error
	n := 0
	for outcome := range queue {
		r := <-outcome
		var remote *pconn.RemoteError
		if r.err != nil && !errors.As(r.err, &remote) {
			return errors.Join(o.explain(ctx, c, r.err), out.Flush())
		}
		if r.err != nil {
			rejected = r.err
		}
		if err := o.print(out, cmd.ErrOrStderr(), n, &r); err != nil {
			return err
		}
		if len(queue) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		n++
	}
	return errors.Join(ctx.Err(), rejected, out.Flush())
}

func (o *callOptions) one(ctx context.Context, c *endpoint.Conn) called {
	began := time.Now()
	resp, err := c.Do(ctx, pconn.Request{Type: o.typ, Flags: o.flags, Payload: o.body})
	return called{resp, err, time.Since(began)}
}

// explain says more of a failure where the peer seems to print text.
func (o *callOptions) explain(ctx context.Context, c *endpoint.Conn, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) {
		err = cause
	}
	if text := c.Text(); text != nil {
		return fmt.Errorf("%w; the peer sent text instead of packets: %q", err, text)
	}
	return err
}

// callLine is a line of --json. Its fields are a stable schema.
type callLine struct {
	N        int     `json:"n"`
	OK       bool    `json:"ok"`
	Type     uint64  `json:"type"`
	Flags    uint64  `json:"flags"`
	Payload  string  `json:"payload"`
	Encoding string  `json:"encoding"`
	MS       float64 `json:"ms"`
}

func (o *callOptions) print(out, errOut io.Writer, n int, r *called) error {
	p := r.resp.Payload
	if !o.json {
		if !r.resp.OK {
			return nil // the error says it
		}
		if r.resp.Flags != 0 {
			fmt.Fprintf(errOut, "flags %#x\n", r.resp.Flags)
		}
		_, err := fmt.Fprintf(out, "%s\n", p)
		return err
	}
	line := callLine{N: n, OK: r.resp.OK, Type: o.typ, Flags: r.resp.Flags, Payload: string(p), Encoding: "utf-8",
		MS: float64(r.took.Microseconds()) / 1000}
	if !utf8.Valid(p) {
		line.Payload, line.Encoding = base64.StdEncoding.EncodeToString(p), "base64"
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	return err
}
