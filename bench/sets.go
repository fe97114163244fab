package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// set is what a run measures.
type set struct {
	rounds int
	times  load.Times
	cells  []peer.Cell
	peers  []string
	// scale are cells with as many connections as they say, and not for all peers.
	scale      []peer.Cell
	scalePeers []string
	idle       []string
	idleScale  []string // for which idle connections are measured by their number
}

var (
	boundNames = []string{peer.Floor, peer.Polled, peer.Ceiling}
	modeNames  = []string{peer.Default, peer.NonBlocking, peer.Into}
	// bestRivals are those that come nearest in one cell or another, and what comes with Go.
	bestRivals = []string{"arpc", "go-yamux", "drpc", "net/rpc"}
	// What a connection learns of its handlers settles within some thousand calls.
	settle = 250 * time.Millisecond
)

// The cells that the goals are about.
var headline = []peer.Cell{
	{Size: 16, InFlight: 1}, {Size: 16, InFlight: 64}, {Size: 16, InFlight: 1024},
	{Size: 1 << 10, InFlight: 64},
	{Size: 64 << 10, InFlight: 1}, {Size: 64 << 10, InFlight: 64},
	{Size: 1 << 20, InFlight: 1}, {Size: 1 << 20, InFlight: 64},
	{Size: 16, InFlight: 64, Both: true},
}

func findSet(name string) (*set, error) {
	best := slices.Concat(boundNames, modeNames, bestRivals)
	switch name {
	case "quick":
		return &set{
			rounds: 3,
			times:  load.Times{Warm: 60 * time.Millisecond, Time: 120 * time.Millisecond, Most: time.Second},
			cells:  []peer.Cell{headline[0], headline[1], headline[4]},
			peers:  best,
			idle:   []string{peer.Default},
		}, nil
	case "headline":
		return &set{
			rounds: 5,
			times:  load.Times{Warm: settle, Time: 200 * time.Millisecond, Most: time.Second},
			cells:  headline,
			peers:  append(best, peer.Untuned),
			idle:   slices.Concat(modeNames[:1], bestRivals),
		}, nil
	case "full":
		return fullSet(), nil
	}
	return nil, fmt.Errorf("no set is called %q; there are quick, headline and full", name)
}

func fullSet() *set {
	s := &set{
		rounds:     7,
		times:      load.Times{Warm: settle, Time: 250 * time.Millisecond, Most: 2 * time.Second},
		scalePeers: []string{peer.Default, peer.NonBlocking, peer.Polled},
		idleScale:  slices.Concat(modeNames[:2], bestRivals),
	}
	for _, size := range []int{16, 1 << 10, 64 << 10, 1 << 20} {
		for _, inFlight := range []int{1, 64, 1024} {
			s.cells = append(s.cells, peer.Cell{Size: size, InFlight: inFlight})
		}
	}
	s.cells = append(s.cells, peer.Cell{Size: 16, InFlight: 64, Both: true})
	for _, inFlight := range []int{1, 8, 64, 512, 4096} {
		s.scale = append(s.scale, peer.Cell{Size: 16, InFlight: inFlight, Conns: 1})
	}
	for _, conns := range []int{10, 100, 1000} {
		s.scale = append(s.scale, peer.Cell{Size: 16, InFlight: conns, Conns: conns})
	}
	for _, p := range peer.All() {
		s.peers = append(s.peers, p.Name)
		if p.Kind == peer.Ours || p.Kind == peer.Rival {
			s.idle = append(s.idle, p.Name)
		}
		if p.Kind == peer.Rival {
			s.scalePeers = append(s.scalePeers, p.Name)
		}
	}
	return s
}
