package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// maxInFlight is the most requests that a command has in flight: as many as a connection may have outstanding,
// beyond which they would only wait, and take memory.
const maxInFlight = 16384

const (
	maxRequestType = 1<<64 - 2 // on the wire it is one more
	maxReplyFlags  = packet.MaxFlags >> 1
)

// callOptions are the flags of call.
type callOptions struct {
	typ, flags uint64
	payload    string
	count      int
	inFlight   int
	timeout    time.Duration
	meta       []string
	json       bool
}

func newCallCommand() *cobra.Command {
	var f connFlags
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call [flags] ENDPOINT | -- CMD ARGS...",
		Short: "Send requests and print the responses",
		Long: `Call sends requests and prints the payload of each response and a newline, in the order of the requests.
What else there is to tell of one, its flags or that it was rejected, goes to standard error.

With --json each response, rejections included, is one object a line, in the same order:

  {"n":0,"ok":true,"type":1,"flags":5,"payload":"text","encoding":"utf-8","ms":0.21}

  n         which request it answers, from 0
  ok        false if the peer rejected the request; the payload is its text then
  type      of the request
  flags     of the response
  payload   of the response
  encoding  of payload: "utf-8", or "base64" if the bytes are not UTF-8
  ms        milliseconds from the request to the response
  error     only in place of an answer that could not be taken: why
  metadata  of the response, if it has any: a list of pairs of key and value, as text
  code      of a rejection, if the peer gave it one
  details   of a rejection, if the peer gave any, as metadata

A peer that has the extensions, such as packetstream serve, is told with --meta, and with --extensions offer or
required, how much time the request has by --timeout, and when it is given up.

` + signalHelp + "\n\n" + exitHelp,
		Example: `  packetstream call --type 2 --payload hello -- packetstream serve --handler test
  packetstream call --type 4 --flags 7 --payload - tcp:127.0.0.1:7000 < file
  packetstream call --meta user=ada --timeout 5s -- packetstream serve
  packetstream call --count 1000 --in-flight 64 --json unix:/run/helper.sock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := parsePeer(cmd, args)
			if err == nil {
				err = errors.Join(f.check(cmd), o.check(cmd, peer))
			}
			if err != nil {
				return err
			}
			if f.dryRun {
				return printPlan(cmd.OutOrStdout(), peer)
			}
			return call(cmd, peer, &f, &o)
		},
	}
	f.add(cmd)
	cmd.Flags().Uint64Var(&o.typ, "type", 0, "request type")
	cmd.Flags().Uint64Var(&o.flags, "flags", 0, "request flags, at most 62 bits; 0x and 0b are understood")
	cmd.Flags().StringVar(&o.payload, "payload", "", "request payload; - reads standard input to its end")
	cmd.Flags().StringArrayVar(&o.meta, "meta", nil, "`KEY=VALUE` that goes with each request, any number of times; the peer must have the extensions")
	cmd.Flags().IntVar(&o.count, "count", 1, "how many requests")
	cmd.Flags().IntVar(&o.inFlight, "in-flight", 1, fmt.Sprintf("how many of them at a time, at most %d", maxInFlight))
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "time for everything, 0 for no limit")
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return cmd
}

// check finds flags that make no sense.
func (o *callOptions) check(cmd *cobra.Command, peer endpoint.Endpoint) error {
	_, stdio := peer.(endpoint.Stdio)
	switch {
	case o.typ > maxRequestType:
		return usagef(cmd, "--type is at most %d", uint64(maxRequestType))
	case o.flags > packet.MaxFlags:
		return usagef(cmd, "--flags has at most 62 bits, not %#x", o.flags)
	case o.count < 0:
		return usagef(cmd, "--count is a number from 0 up, not %d", o.count)
	case o.inFlight < 1 || o.inFlight > maxInFlight:
		return usagef(cmd, "--in-flight is within 1 and %d, not %d", maxInFlight, o.inFlight)
	case !allPairs(o.meta):
		return usagef(cmd, "--meta is KEY=VALUE, not %q", o.meta)
	case o.timeout < 0:
		return usagef(cmd, "--timeout is a time from 0 up, not %v", o.timeout)
	case len(o.payload) > pconn.DefaultMaxPayload:
		return usagef(cmd, "--payload is over the limit of %d bytes", pconn.DefaultMaxPayload)
	case o.payload == "-" && stdio:
		return usagef(cmd, "standard input cannot be both the payload and the connection")
	}
	return nil
}

// allPairs says whether each text is a key and a value.
func allPairs(texts []string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(s, "=") })
}

func metadataOf(pairs []string) pconn.Metadata {
	var md pconn.Metadata
	for _, s := range pairs {
		key, value, _ := strings.Cut(s, "=")
		md.AddText(key, value)
	}
	return md
}

// call connects to the peer, makes the requests and prints their outcomes.
func call(cmd *cobra.Command, peer endpoint.Endpoint, f *connFlags, o *callOptions) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	body := []byte(o.payload)
	if o.payload == "-" {
		var err error
		if body, err = readPayload(ctx, cmd); err != nil {
			return err
		}
	}
	opts := f.options(nil)
	defer f.done()
	return converse(ctx, peer, opts, func(conn *endpoint.Conn) error {
		c := &calls{
			conn:    conn,
			request: pconn.Request{Type: o.typ, Flags: o.flags, Payload: body, Metadata: metadataOf(o.meta)},
			count:   o.count,
			window:  o.inFlight,
			print:   newCallPrinter(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json),
		}
		return c.run(ctx)
	})
}

// readPayload reads standard input to its end, or until ctx ends: then a goroutine is left behind that reads,
// and that the end of the process takes with it.
func readPayload(ctx context.Context, cmd *cobra.Command) ([]byte, error) {
	type read struct {
		body []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		body, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), pconn.DefaultMaxPayload+1))
		done <- read{body, err}
	}()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return nil, usagef(cmd, "reading the payload: %w", r.err)
		case len(r.body) > pconn.DefaultMaxPayload:
			return nil, usagef(cmd, "the payload on standard input is over the limit of %d bytes", pconn.DefaultMaxPayload)
		}
		return r.body, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
