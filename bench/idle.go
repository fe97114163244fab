package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/peer"
	"github.com/packetstream/packetstream/bench/report"
)

// newIdleCommand measures idle connections in this process, both ends of each.
func newIdleCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "idle PEER PAIRS",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := peer.Find(args[0])
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of connections", args[1])
			}
			i, err := idle(found[0], n)
			if err != nil {
				i.Err = err.Error()
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(i)
		},
	}
}

var idleCell = peer.Cell{Size: 16, InFlight: 1}

// idle opens n connections, makes a call on each, and measures what they hold when nothing moves.
func idle(p *peer.Peer, n int) (report.Idle, error) {
	i := report.Idle{Peer: p.Name, Pairs: n}
	// What the first connection brings about once is not to be counted.
	first, err := idlePair(p)
	if err != nil {
		return i, err
	}
	before, goroutines := holds()
	all := []peer.Conn{first}
	for range n {
		c, err := idlePair(p)
		if err != nil {
			return i, err
		}
		all = append(all, c)
	}
	after, more := holds()
	i.KiB = float64(after-before) / float64(n) / 1024
	i.Goroutines = float64(more-goroutines) / float64(n)
	runtime.KeepAlive(all)
	return i, nil
}

// held keeps the answering ends.
type held struct {
	peer.Conn
	answerer peer.Conn
}

func idlePair(p *peer.Peer) (peer.Conn, error) {
	q, err := newPair()
	if err != nil {
		return nil, err
	}
	// Some answering ends wait for the first byte of the other.
	type opened struct {
		conn peer.Conn
		err  error
	}
	answerer := make(chan opened, 1)
	go func() { // ends when the caller's end is open, at the latest
		c, err := p.Open(peer.Answerer, q.theirR, q.theirW, idleCell)
		answerer <- opened{c, err}
	}()
	caller, err := p.Open(peer.Caller, q.r, q.w, idleCell)
	if err != nil {
		return nil, err
	}
	a := <-answerer
	if a.err != nil {
		return nil, a.err
	}
	payload := []byte("sixteen bytes it")
	reply, err := caller.Call(context.Background(), payload, make([]byte, 0, 64))
	if err != nil || !bytes.Equal(reply, payload) {
		return nil, errors.Join(err, fmt.Errorf("%q was answered with %q", payload, reply))
	}
	return held{caller, a.conn}, nil
}

// holds returns the bytes of heap and stacks in use and the number of goroutines, as soon as they stay the same.
func holds() (size int64, goroutines int) {
	var m runtime.MemStats
	for range 50 {
		runtime.GC()
		runtime.ReadMemStats(&m)
		now := int64(m.HeapAlloc + m.StackInuse)
		n := runtime.NumGoroutine()
		if n == goroutines && now-size < 4096 && size-now < 4096 {
			return now, n
		}
		size, goroutines = now, n
		time.Sleep(20 * time.Millisecond)
	}
	return size, goroutines
}
