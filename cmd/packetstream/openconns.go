package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/packetstream/packetstream/pconn"
)

// openConns are the connections that have made requests and are not over.
type openConns struct {
	// mu guards the map.
	mu      sync.RWMutex
	open    map[*pconn.Conn]struct{}
	waiting sync.WaitGroup // for the goroutines that wait for the ends of connections
}

func newOpenConns() *openConns { return &openConns{open: make(map[*pconn.Conn]struct{})} }

// watch returns h with an eye on the connections of its requests.
func (s *openConns) watch(h pconn.Handler) pconn.Handler {
	return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		s.add(req.Conn)
		return h.ServePacket(ctx, req)
	})
}

func (s *openConns) add(c *pconn.Conn) {
	s.mu.RLock()
	_, known := s.open[c]
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.open[c]; known {
		return
	}
	s.open[c] = struct{}{}
	s.waiting.Go(func() {
		<-c.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	})
}

func (s *openConns) all() []*pconn.Conn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	conns := make([]*pconn.Conn, 0, len(s.open))
	for c := range s.open {
		conns = append(conns, c)
	}
	return conns
}

// wait waits until all are over.
func (s *openConns) wait() { s.waiting.Wait() }

// print prints what is in flight.
func (s *openConns) print(w io.Writer) {
	conns := s.all()
	fmt.Fprintf(w, "packetstream: %d connections that made requests\n", len(conns))
	for _, c := range conns {
		flight := c.InFlight()
		fmt.Fprintf(w, "%s: %d in flight\n", c.Name(), len(flight))
		for _, f := range flight {
			fmt.Fprintf(w, "  %v\n", f)
		}
	}
}

// close ends the connections at once.
func (s *openConns) close() {
	var wg sync.WaitGroup
	for _, c := range s.all() {
		wg.Go(func() { _ = c.Close() }) // handlers that stay end with the process
	}
	wg.Wait()
}
