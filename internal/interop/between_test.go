package interop

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// between is a session of two ends, a and b, with the test listening in.
type between struct {
	t    *testing.T
	apps map[string]*application

	mu      sync.Mutex        // guards the rest
	tags    map[string]*tags  // of each end's requests
	packets map[string][]step // that each end sent, one a step
}

var ends = []string{"a", "b"}

func other(end string) string {
	if end == "a" {
		return "b"
	}
	return "a"
}

func replayBetween(t *testing.T, session string, rec *recording) (found []difference) {
	s := &between{t: t, apps: make(map[string]*application)}
	s.reset()
	for _, ev := range rec.Events {
		if ev.Packet != nil {
			s.note(ev.From, ev.Packet)
		}
	}
	theirs := s.packets
	s.reset()
	var outcomes, recorded []step
	var ops []event
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		ops, outcomes = s.run(session, rec)
	})
	for _, op := range ops {
		recorded = append(recorded, step{outcome: op.Outcome.String()})
	}
	found = compare(session, ops, recorded, outcomes)
	for _, end := range ends {
		n := max(len(theirs[end]), len(s.packets[end]))
		found = append(found, compare(session, nil, pad(theirs[end], n), pad(s.packets[end], n))...)
	}
	return found
}

func pad(steps []step, n int) []step { return append(steps, make([]step, n-len(steps))...) }

func (s *between) reset() {
	s.tags = map[string]*tags{"a": {}, "b": {}}
	s.packets = make(map[string][]step)
}

// note adds a packet that end sent. ERQ takes no place, so that it can be found missing without moving the rest.
func (s *between) note(end string, p *wirePacket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := p.token(s.tags[end], *s.tags[other(end)])
	n := len(s.packets[end])
	if n > 0 && s.packets[end][n-1].packets[0] == erqToken {
		s.packets[end][n-1].packets = append(s.packets[end][n-1].packets, token)
		return
	}
	s.packets[end] = append(s.packets[end], step{packets: []string{token}})
}

// run lets both ends do what they did, and returns the operations whose outcomes were recorded, with ours.
func (s *between) run(session string, rec *recording) (ops []event, outcomes []step) {
	ctx, cancel := context.WithCancel(context.Background())
	s.connect(ctx)
	var closing sync.WaitGroup
	begun := false
	for _, ev := range rec.Events {
		if ev.Op == "" || ev.Op == "open" {
			continue
		}
		if (ev.Op == "close" || ev.Op == "join_recv") && !begun {
			begun = true
			s.closeFirst(session, &closing)
		}
		ops = append(ops, ev)
		done := make(chan string, 1)
		go func() { done <- s.apps[ev.At].perform(&ev, func() {}) }()
		select {
		case o := <-done:
			outcomes = append(outcomes, step{outcome: o})
		case <-time.After(3 * time.Second):
			s.t.Fatalf("%s at %s hangs", ev.Op, ev.At)
		}
	}
	cancel()
	for _, end := range ends {
		require.NoError(s.t, s.apps[end].conn.Close())
	}
	closing.Wait()
	synctest.Wait()
	return ops, outcomes
}

// closeFirst begins the closes whose outcomes were not recorded.
func (s *between) closeFirst(session string, closing *sync.WaitGroup) {
	first := ends
	switch {
	case strings.HasSuffix(session, "asker-closes"):
		first = ends[:1]
	case strings.HasSuffix(session, "server-closes"):
		first = ends[1:]
	}
	for _, end := range first {
		closing.Go(func() { s.apps[end].perform(&event{Op: "close"}, func() {}) })
	}
	synctest.Wait()
}

// connect opens both ends, and relays between them.
func (s *between) connect(ctx context.Context) {
	in, toA := bufio.Pipe(1 << 20)
	fromA, out := bufio.Pipe(1 << 20)
	inB, toB := bufio.Pipe(1 << 20)
	fromB, outB := bufio.Pipe(1 << 20)
	for _, end := range ends {
		s.apps[end] = &application{ctx: ctx}
		h, _ := handlers("service")
		require.NoError(s.t, s.apps[end].open(in, out, h, pconn.ExtensionsLazy))
		in, out = inB, outB
	}
	go s.relay("a", fromA, toB)
	go s.relay("b", fromB, toA)
}

// relay carries what end sends to the other one, until the end of its stream.
func (s *between) relay(end string, from *bufio.Input, to *bufio.Output) {
	for {
		p, err := packet.Read(from, 1<<20)
		if errors.Is(err, io.EOF) {
			_ = to.Close()
			return
		}
		if err != nil {
			s.note(end, &wirePacket{Tag: json.Number(err.Error())})
			return
		}
		s.note(end, recorded(&p))
		var batch bufio.Batch
		b, _ := p.Append(batch.Begin())
		batch.End(b)
		_ = to.Write(&batch, true) // the other end may have closed
	}
}
