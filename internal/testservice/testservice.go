// Package testservice is the request handler by which any two programs can be checked against each
// other: the one that the Python peers in testdata/packetstream/peers offer too.
package testservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/packetstream/packetstream/endpoint/share"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// Request types of the service.
const (
	None  = iota // answers nothing
	Flags        // answers the request's flags
	Bytes        // answers the request's payload
	Text         // answers the payload as text
	Pair         // answers the request's flags and payload
	Raise        // fails
	Sleep        // payload "N" or "N:anything": after N ms answers as Pair
	Back         // payload is a BSUint type, then bytes: asks that back and answers the answer
	Huge         // payload is a decimal N: answers N bytes, byte i being i modulo 251
	Info         // answers JSON about this process
)

// Service is the handler of the test service. It may serve any number of connections.
type Service struct {
	version string

	mu                  sync.Mutex // guards the rest
	counts              map[uint64]int
	running, maxRunning int
}

// New returns a service that gives version as its own.
func New(version string) *Service {
	return &Service{version: version, counts: make(map[uint64]int)}
}

// ServePacket counts the request and answers it.
func (s *Service) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	s.mu.Lock()
	s.counts[req.Type]++
	s.running++
	s.maxRunning = max(s.maxRunning, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	return s.answer(ctx, req)
}

// Count returns how many requests of a type were made.
func (s *Service) Count(typ uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[typ]
}

// Counts returns how many requests were made, by type.
func (s *Service) Counts() map[uint64]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// MaxRunning returns how many requests were at work at a time, at most.
func (s *Service) MaxRunning() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxRunning
}

func (s *Service) answer(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	switch req.Type {
	case None:
		return pconn.None(), nil
	case Flags:
		return pconn.Flags(req.Flags), nil
	case Bytes:
		return pconn.Bytes(req.Payload), nil
	case Text:
		return textReply(req.Payload)
	case Pair:
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	case Raise:
		return pconn.Reply{}, errors.New("asked to fail")
	case Sleep:
		return sleepReply(ctx, req)
	case Back:
		return backReply(ctx, req)
	case Huge:
		n, err := strconv.Atoi(string(req.Payload))
		if err != nil || n < 0 {
			return pconn.Reply{}, fmt.Errorf("bad size %q", req.Payload)
		}
		return pconn.Bytes(HugeBytes(n)), nil
	case Info:
		return s.info()
	}
	return pconn.Reply{}, fmt.Errorf("no such request type: %d", req.Type)
}

// textReply refuses what Python cannot decode with its "surrogatepass" handler, as the original of
// the service does: surrogates may stand alone, other bad bytes may not.
func textReply(payload []byte) (pconn.Reply, error) {
	for rest := payload; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			if !isSurrogate(rest) {
				return pconn.Reply{}, fmt.Errorf("payload is not text: %q", payload)
			}
			n = 3
		}
		rest = rest[n:]
	}
	return pconn.Text(string(payload)), nil
}

// isSurrogate reports whether b begins with an encoded surrogate.
func isSurrogate(b []byte) bool {
	return len(b) >= 3 && b[0] == 0xED && b[1] >= 0xA0 && b[1] <= 0xBF && b[2]&0xC0 == 0x80
}

func sleepReply(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	ms, _, _ := strings.Cut(string(req.Payload), ":")
	n, err := strconv.Atoi(ms)
	if err != nil || n < 0 {
		return pconn.Reply{}, fmt.Errorf("bad number of milliseconds %q", ms)
	}
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	case <-ctx.Done():
		return pconn.Reply{}, ctx.Err()
	}
}

func backReply(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	typ, n, err := packet.DecodeUint(req.Payload)
	if err != nil {
		return pconn.Reply{}, err
	}
	resp, err := req.Conn.Do(ctx, pconn.Request{Type: typ, Flags: req.Flags, Payload: req.Payload[n:], Metadata: share.Back(req.Metadata)})
	if err != nil {
		return pconn.Reply{}, err
	}
	return pconn.FlagsBytes(resp.Flags, resp.Payload), nil
}

// HugeBytes returns the answer to Huge: n bytes, byte i being i modulo 251.
func HugeBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func (s *Service) info() (pconn.Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	info, err := json.Marshal(map[string]any{
		"version":     s.version,
		"pid":         os.Getpid(),
		"counts":      s.counts,
		"max_running": s.maxRunning,
		"goroutines":  runtime.NumGoroutine(),
		"heap_bytes":  mem.HeapAlloc,
	})
	return pconn.Bytes(info), err
}
