package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
)

// limitFlags are the flags that bound what those who connect may take.
type limitFlags struct {
	conns       int
	requests    uint64
	handshake   time.Duration
	firstPacket time.Duration
}

func (f *limitFlags) add(cmd *cobra.Command) {
	f.addConns(cmd)
	cmd.Flags().Uint64Var(&f.requests, "max-requests", 0, "listening: requests after which a connection ends in good order, 0 for no limit")
	cmd.Flags().DurationVar(&f.firstPacket, "first-packet", 0, "listening: time for a peer to send its first packet, 0 for no limit")
}

// addConns adds those that are not about packets.
func (f *limitFlags) addConns(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.conns, "max-conns", endpoint.DefaultMaxConns, "listening: connections served at a time; others wait")
	cmd.Flags().DurationVar(&f.handshake, "handshake", endpoint.DefaultHandshake, "listening: time for the handshake of TLS, and for that of a WebSocket")
}

// check finds flags that make no sense.
func (f *limitFlags) check(cmd *cobra.Command) error {
	switch {
	case f.conns < 1 || f.conns > endpoint.MaxConns:
		return usagef(cmd, "--max-conns is within 1 and %d, not %d", endpoint.MaxConns, f.conns)
	case f.handshake <= 0:
		return usagef(cmd, "--handshake is a time above 0, not %v", f.handshake)
	case f.firstPacket < 0:
		return usagef(cmd, "--first-packet is a time from 0 up, not %v", f.firstPacket)
	}
	return nil
}

func (f *limitFlags) limits() endpoint.Limits {
	return endpoint.Limits{MaxConns: f.conns, MaxRequests: f.requests, Handshake: f.handshake, FirstPacket: f.firstPacket}
}
