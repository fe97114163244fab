package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// streamModel is what two ends and the streams between them should do, one step at a time: a step waits until
// the other end has seen what it does.
type streamModel struct {
	t         *rapid.T
	ends      [2]*pconn.Conn
	listeners [2]*pconn.Listener
	streams   []*modelStream
	opened    [2]int // streams of an end that count against the other's limit
	next      byte
}

// modelStream is a stream, and of each direction what was sent and not read. Direction d is sent by end d.
type modelStream struct {
	opener int
	end    [2]*pconn.Stream
	dir    [2]modelDirection
	over   bool // reset
}

type modelDirection struct {
	unread []byte
	ended  bool // by CloseWrite
	unwant bool // by CloseRead
}

// isOver says that the sender has ended it, or will as soon as it knows that nobody wants it.
func (d *modelDirection) isOver() bool { return d.ended || d.unwant }

const (
	modelMaxOpen = 3
	modelWindow  = 8 << 10
	modelAhead   = modelWindow * 3 / 4 // the sender may not know yet of a quarter
)

func (m *streamModel) fail(format string, args ...any) { m.t.Fatalf(format, args...) }

// step does one thing.
func (m *streamModel) step() {
	if len(m.streams) == 0 || rapid.IntRange(0, 9).Draw(m.t, "open") == 0 {
		m.open(rapid.IntRange(0, 1).Draw(m.t, "opener"))
		return
	}
	s := rapid.SampledFrom(m.streams).Draw(m.t, "stream")
	e := rapid.IntRange(0, 1).Draw(m.t, "end")
	switch rapid.SampledFrom([]string{"write", "write", "write", "read", "read", "read", "deadline", "closeWrite", "closeRead", "reset", "close"}).Draw(m.t, "step") {
	case "write":
		m.write(s, e, rapid.SampledFrom([]int{0, 1, 100, 3000, 9000, 40000}).Draw(m.t, "size"))
	case "read":
		m.read(s, e, rapid.SampledFrom([]int{1, 50, 5000, 40000}).Draw(m.t, "size"))
	case "deadline":
		m.deadline(s, e)
	case "closeWrite":
		s.end[e].CloseWrite()
		s.dir[e].ended = true
	case "closeRead":
		m.closeRead(s, e)
	case "reset":
		m.reset(s, e, uint64(rapid.IntRange(0, 300).Draw(m.t, "code")))
	case "close":
		m.closeRead(s, e)
		s.end[e].Close()
		s.dir[e].ended = true
	}
	m.retire()
}

func (m *streamModel) open(e int) {
	if m.opened[e] == modelMaxOpen {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := m.ends[e].OpenStream(ctx, "one too many", nil); err != context.DeadlineExceeded {
			m.fail("opened a stream past the limit: %v", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	name := fmt.Sprint(rapid.IntRange(0, 99).Draw(m.t, "name"))
	md := pconn.Metadata{{Key: "k", Value: []byte(name)}}
	s := &modelStream{opener: e}
	var err error
	if s.end[e], err = m.ends[e].OpenStream(ctx, name, md); err != nil {
		m.fail("open: %v", err)
	}
	if s.end[1-e], err = m.listeners[1-e].AcceptStream(ctx); err != nil {
		m.fail("accept: %v", err)
	}
	if got := s.end[1-e]; got.Name() != name || len(got.Metadata()) != 1 || string(got.Metadata()[0].Value) != name {
		m.fail("accepted %q %v, opened %q", got.Name(), got.Metadata(), name)
	}
	for _, end := range s.end {
		end.SetDeadline(time.Now().Add(patience))
	}
	m.streams = append(m.streams, s)
	m.opened[e]++
}

func (m *streamModel) write(s *modelStream, e, size int) {
	d := &s.dir[e]
	if !d.ended && !d.unwant {
		size = min(size, modelAhead-len(d.unread))
	}
	p := make([]byte, max(size, 0))
	for i := range p {
		m.next += 7
		p[i] = m.next
	}
	n, err := s.end[e].Write(p)
	switch {
	case d.ended || d.unwant:
		if err == nil {
			m.fail("wrote %d bytes to a direction that has ended", n)
		}
	case err != nil || n != len(p):
		m.fail("wrote %d of %d bytes: %v", n, len(p), err)
	default:
		d.unread = append(d.unread, p...)
	}
}

func (m *streamModel) read(s *modelStream, e, size int) {
	d := &s.dir[1-e]
	buf := make([]byte, size)
	switch {
	case d.unwant:
		if n, err := s.end[e].Read(buf); !errors.Is(err, net.ErrClosed) {
			m.fail("read %d bytes of a direction that is not wanted: %v", n, err)
		}
	case len(d.unread) > 0:
		buf = buf[:min(size, len(d.unread))]
		if n, err := io.ReadFull(s.end[e], buf); err != nil {
			m.fail("read %d of %d bytes: %v", n, len(buf), err)
		}
		if !bytes.Equal(buf, d.unread[:len(buf)]) {
			m.fail("other bytes were read than written")
		}
		d.unread = d.unread[len(buf):]
	case d.ended:
		if n, err := s.end[e].Read(buf); err != io.EOF {
			m.fail("read %d bytes behind the end: %v", n, err)
		}
	}
}

// deadline checks that a Read that finds nothing ends in time, and that nothing is lost by it.
func (m *streamModel) deadline(s *modelStream, e int) {
	if d := &s.dir[1-e]; d.unwant || d.ended || len(d.unread) > 0 {
		return
	}
	s.end[e].SetReadDeadline(time.Now().Add(time.Duration(rapid.IntRange(-1, 1).Draw(m.t, "deadline")) * time.Millisecond))
	if n, err := s.end[e].Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		m.fail("read %d bytes where there is nothing: %v", n, err)
	}
	s.end[e].SetReadDeadline(time.Now().Add(patience))
}

// closeRead ends a direction by its reader, and waits until the writer knows.
func (m *streamModel) closeRead(s *modelStream, e int) {
	d := &s.dir[1-e]
	s.end[e].CloseRead()
	if !d.unwant && !d.ended {
		m.awaitWriteError(s.end[1-e], true)
	}
	d.unwant, d.unread = true, nil
}

func (m *streamModel) awaitWriteError(s *pconn.Stream, stopped bool) {
	for begun := time.Now(); ; time.Sleep(10 * time.Microsecond) {
		_, err := s.Write(nil)
		var serr *pconn.StreamError
		switch {
		case errors.As(err, &serr) && serr.Remote && serr.Stopped == stopped:
			return
		case err != nil:
			m.fail("writing failed with %v", err)
		case time.Since(begun) > patience:
			m.fail("the writer was not told")
		}
	}
}

// reset ends both directions, and checks that the other end is told.
func (m *streamModel) reset(s *modelStream, e int, code uint64) {
	live := !s.dir[e].ended || !s.dir[1-e].ended || len(s.dir[e].unread) > 0
	told := live && !s.dir[e].unwant && !s.dir[e].ended
	s.end[e].Reset(code)
	if told {
		_, err := io.Copy(io.Discard, s.end[1-e])
		var serr *pconn.StreamError
		if !errors.As(err, &serr) || serr.Code != code || !serr.Remote {
			m.fail("reading a stream that was reset with %d: %v", code, err)
		}
	}
	s.over = true
}

// retire forgets streams that are over, at both ends.
func (m *streamModel) retire() {
	kept := m.streams[:0]
	for _, s := range m.streams {
		if !s.over && !(s.dir[0].isOver() && s.dir[1].isOver()) {
			kept = append(kept, s)
			continue
		}
		for _, end := range s.end {
			end.Close()
		}
		m.opened[s.opener]--
	}
	m.streams = kept
}

// checkStreams drives two ends through random steps.
func checkStreams(t *rapid.T, steps int) {
	m := &streamModel{t: t}
	room := rapid.SampledFrom([]int{500, 4 << 10, 1 << 20}).Draw(t, "room")
	in0, out1 := bufio.Pipe(room)
	in1, out0 := bufio.Pipe(room)
	for e, pipe := range []struct {
		in  *bufio.Input
		out *bufio.Output
	}{{in0, out0}, {in1, out1}} {
		c, err := pconn.New(pipe.in, pipe.out, &pconn.Options{Streams: pconn.StreamLimits{MaxOpen: modelMaxOpen, Window: modelWindow}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m.ends[e] = c
		if m.listeners[e], err = c.Listen(""); err != nil {
			t.Fatal(err)
		}
	}
	for range steps {
		m.step()
	}
	for _, s := range m.streams {
		for _, end := range s.end {
			end.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.ends[0].Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.ends[1].Wait(); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.ends {
		if left := c.InFlight(); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
	}
}

func TestStreamsFollowTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkStreams(t, rapid.IntRange(1, 100).Draw(t, "steps")) })
}
