package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// Request types of the test service. It is the one that the interop peers of testdata/packetstream
// offer, so that any two programs can be checked against each other.
const (
	testNone  = iota // answers nothing
	testFlags        // answers the request's flags
	testBytes        // answers the request's payload
	testText         // answers the payload as text
	testPair         // answers the request's flags and payload
	testRaise        // fails
	testSleep        // payload "N" or "N:anything": after N ms answers as testPair
	testBack         // payload is a BSUint type, then bytes: asks that back and answers the answer
	testHuge         // payload is a decimal N: answers N bytes, byte i being i modulo 251
	testInfo         // answers JSON about this process
)

// testService is the handler of the test service.
type testService struct {
	mu                  sync.Mutex // guards the rest
	counts              map[uint64]int
	running, maxRunning int
}

func newTestService() *testService { return &testService{counts: make(map[uint64]int)} }

// ServePacket counts the request and answers it.
func (s *testService) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
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

// count returns how many requests of a type were made.
func (s *testService) count(typ uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[typ]
}

func (s *testService) answer(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	switch req.Type {
	case testNone:
		return pconn.None(), nil
	case testFlags:
		return pconn.Flags(req.Flags), nil
	case testBytes:
		return pconn.Bytes(req.Payload), nil
	case testText:
		return textReply(req.Payload)
	case testPair:
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	case testRaise:
		return pconn.Reply{}, errors.New("asked to fail")
	case testSleep:
		return sleepReply(ctx, req)
	case testBack:
		return backReply(ctx, req)
	case testHuge:
		n, err := strconv.Atoi(string(req.Payload))
		if err != nil || n < 0 {
			return pconn.Reply{}, fmt.Errorf("bad size %q", req.Payload)
		}
		return pconn.Bytes(hugeBytes(n)), nil
	case testInfo:
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
	resp, err := req.Conn.Do(ctx, pconn.Request{Type: typ, Flags: req.Flags, Payload: req.Payload[n:]})
	if err != nil {
		return pconn.Reply{}, err
	}
	return pconn.FlagsBytes(resp.Flags, resp.Payload), nil
}

// hugeBytes returns n bytes, byte i being i modulo 251.
func hugeBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func (s *testService) info() (pconn.Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	info, err := json.Marshal(map[string]any{
		"version":     version(),
		"pid":         os.Getpid(),
		"counts":      s.counts,
		"max_running": s.maxRunning,
		"goroutines":  runtime.NumGoroutine(),
		"heap_bytes":  mem.HeapAlloc,
	})
	return pconn.Bytes(info), err
}
