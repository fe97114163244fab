package peer

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"slices"
)

// Kind says what a peer is to the others.
type Kind int

const (
	// Bound is bare system calls: what there is to reach.
	Bound Kind = iota
	// Ours is packetstream.
	Ours
	// Rival is another library.
	Rival
	// Reference is the Python implementation, alone or against ours.
	Reference
)

// Side is the end of a connection.
type Side int

const (
	// Caller makes the calls.
	Caller Side = iota
	// Answerer answers them, and where a peer can do that, calls too.
	Answerer
)

// Cell is one thing to measure.
type Cell struct {
	Size     int  `json:"size"`            // bytes of payload, each way
	InFlight int  `json:"in_flight"`       // calls at a time, on each end that calls
	Both     bool `json:"both,omitempty"`  // both ends call
	Conns    int  `json:"conns,omitempty"` // connections, one if 0
}

// Peer is one system.
type Peer struct {
	Name   string
	Kind   Kind
	Module string // of which it is, for its version

	// Symmetric says that both ends of one connection can call.
	Symmetric bool
	// Fills says that Call reads what comes back into buf, and that the answering end has memory for one call after another.
	Fills bool
	// Blocking says that it wants descriptors that block.
	Blocking bool
	// Unfit returns why a cell cannot be measured, or "".
	Unfit func(Cell) string

	// Open opens one end over what is read from and written to. It is called once for each end. The Conn closes both files.
	Open func(side Side, r, w *os.File, cell Cell) (Conn, error)
	// OpenStdio, if set, opens the answering end over the process's standard input and output in Open's place.
	OpenStdio func(cell Cell) (Conn, error)

	// Python is the grace of the reference on one end or on both, if it is not nil.
	Python *Python
}

// Python says which ends are the reference.
type Python struct {
	Calls, Answers bool
	Grace          string // seconds, or "" for its default
	Apart          bool   // each process keeps to one processor, each to another
}

// Conn is one end of a connection. Call may be called concurrently, as many times over as the cell says.
type Conn interface {
	// Call sends payload and returns what comes back, which may be in buf's memory and is not used after the
	// same caller's next call.
	Call(ctx context.Context, payload, buf []byte) ([]byte, error)
	Close() error
}

// Streamer is a Conn with no calls: it keeps a number of equal frames on their way, checks what comes back and
// counts it, until ctx ends.
type Streamer interface {
	Stream(ctx context.Context, frame []byte, inFlight int, count func(frames int)) error
}

// ErrOneWay is the error of a call by an end that only answers.
var ErrOneWay = errors.New("this end only answers")

// answerer is a Conn that only answers.
type answerer struct{ close func() error }

func (answerer) Call(context.Context, []byte, []byte) ([]byte, error) { return nil, ErrOneWay }
func (a answerer) Close() error {
	if a.close == nil {
		return nil
	}
	return a.close()
}

// All returns every peer: the bounds first, then packetstream's modes, rivals and the reference.
func All() []*Peer {
	all := bounds()
	all = append(all, packetstreams()...)
	all = append(all, arpcPeers()...)
	all = append(all, drpcPeer(), netRPCPeer(), ttrpcPeer(), grpcPeer())
	all = append(all, muxers()...)
	all = append(all, jsonRPCPeer())
	return append(all, references()...)
}

// Find returns the peers of the given names, in their order.
func Find(names ...string) ([]*Peer, error) {
	all := All()
	found := make([]*Peer, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(all, func(p *Peer) bool { return p.Name == name })
		if i < 0 {
			return nil, errors.New("no peer is called " + name)
		}
		found = append(found, all[i])
	}
	return found, nil
}

// WhyNot returns why the peer cannot be measured in a cell, or "".
func (p *Peer) WhyNot(c Cell) string {
	switch {
	case c.Size*c.InFlight >= 1<<30:
		return "a GiB on its way each way would measure memory"
	case c.Both && !p.Symmetric:
		return "only one end calls"
	case c.Conns > 1 && p.Python != nil:
		return "one connection a process"
	case p.Unfit != nil:
		return p.Unfit(c)
	}
	return ""
}

// Version returns the version of the peer's module that this program was built with, or "".
func (p *Peer) Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || p.Module == "" {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == p.Module && m.Replace == nil {
			return m.Version
		}
	}
	return ""
}
