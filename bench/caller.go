package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// newCallerCommand is the process that calls. It starts the one that answers, and prints a sample.
func newCallerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "caller SPEC",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, p, err := parseSpec(args[0])
			if err != nil {
				return err
			}
			sample, err := call(s, p)
			sample.Peer = s.Peer
			if err != nil {
				sample.Err = err.Error()
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(sample)
		},
	}
}

func call(s *spec, p *peer.Peer) (load.Sample, error) {
	sample := load.Sample{Cell: s.Cell}
	if p.Python != nil && p.Python.Calls {
		return callFromPython(s, p)
	}
	pairs := make([]pair, s.conns())
	for i := range pairs {
		var err error
		if pairs[i], err = newPair(); err != nil {
			return sample, err
		}
	}
	answerer, err := startAnswering(s, p, pairs)
	if err != nil {
		return sample, err
	}
	var other load.Other = load.NewControl(answerer.control.r, answerer.control.w)
	python := p.Python != nil
	if python {
		other = load.Process(answerer.cmd.Process.Pid)
	}
	if python && p.Python.Apart {
		if err := keepTo(peer.CallerProcessor); err != nil { // after the child's start, which would inherit it
			return sample, errors.Join(err, answerer.end(true))
		}
	}
	conns := make([]peer.Conn, len(pairs))
	for i, q := range pairs {
		if conns[i], err = p.Open(peer.Caller, q.r, q.w, s.Cell); err != nil {
			return sample, errors.Join(err, answerer.end(true))
		}
	}
	stop, err := startProfiles(s.Profile, "caller")
	if err != nil {
		return sample, errors.Join(err, answerer.end(true))
	}
	sample, err = load.Measure(conns, s.Cell, s.Times, other)
	sample.NoAllocs = python
	return sample, errors.Join(err, stop(), answerer.end(python || err != nil))
}

// callFromPython lets the reference call, which measures for itself.
func callFromPython(s *spec, p *peer.Peer) (load.Sample, error) {
	sample := load.Sample{Cell: s.Cell, NoAllocs: true}
	args := []string{
		"--size", strconv.Itoa(s.Cell.Size), "--in-flight", strconv.Itoa(s.Cell.InFlight),
		"--warm", fmt.Sprint(s.Times.Warm.Seconds()), "--seconds", fmt.Sprint(s.Times.Time.Seconds()), "--",
	}
	server, err := selfCommand("answerer", s.argument())
	if p.Python.Answers {
		server, err = p.Python.Server()
	}
	if err != nil {
		return sample, err
	}
	client, err := p.Python.Client(append(args, server.Args...)...)
	if err != nil {
		return sample, err
	}
	client.Stderr = os.Stderr
	out, err := client.Output()
	if err != nil {
		return sample, err
	}
	var result struct {
		Calls   uint64
		Seconds float64
		P50     float64 `json:"p50_us"`
		P99     float64 `json:"p99_us"`

		// Of both processes.
		CPU         float64 `json:"cpu_us"`
		SystemCalls float64 `json:"system_calls"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return sample, fmt.Errorf("the reference's client printed %q: %w", out, err)
	}
	sample.Calls, sample.P50, sample.P99 = result.Calls, result.P50, result.P99
	sample.PerSec = float64(result.Calls) / result.Seconds
	sample.CPU, sample.SystemCalls = result.CPU/float64(result.Calls), result.SystemCalls/float64(result.Calls)
	sample.MBs = sample.PerSec * float64(s.Cell.Size) / 1e6
	return sample, nil
}
