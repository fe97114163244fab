package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// step is what one event of a session showed.
type step struct {
	packets []string // the library's, as tokens, the end of its stream included
	outcome string
	fields  map[string]string // of internals
}

// operation is one that the application began.
type operation struct {
	done    chan struct{} // closed when outcome is set
	outcome string
}

// replay is one session replayed. In virtual time it waits for as long as the recording did. Over pipes of the
// system it waits for what the virtual one saw.
type replay struct {
	t       *testing.T
	rec     *recording
	virtual *replay // the one to follow, or nil in virtual time itself

	wire    *wire
	app     application
	ext     pconn.Extensions
	cancel  context.CancelFunc
	handler *counting
	counts  func() (map[uint64]int, int)

	listed   func(difference) bool
	recorded []step
	theirs   tags // of the recorded library's requests

	ops      map[int]*operation
	arrivals chan string
	steps    []step
	reached  []progress

	// mu guards what follows, and keeps the writes of raw apart.
	mu   sync.Mutex
	ours tags // of our requests that have arrived
	sent int  // packets that have arrived, but EOF
	ends bool // whether the end of the stream was seen
}

// progress is how much the connection has taken in.
type progress struct {
	packets uint64
	begun   int64
	ended   bool
}

// aLot bounds every wait that is not part of a recording.
const aLot = 20 * time.Second

// newReplay prepares a replay. What is listed as not sent is not waited for, and what is sent besides is not
// taken for what is.
func newReplay(t *testing.T, rec *recording, w *wire, virtual *replay, listed func(difference) bool) *replay {
	r := &replay{t: t, rec: rec, virtual: virtual, wire: w, listed: listed,
		ops: make(map[int]*operation), arrivals: make(chan string, 1000)}
	r.app.ctx, r.cancel = context.WithCancel(context.Background())
	h, service := handlers(rec.Options.Handler)
	r.handler = &counting{Handler: h}
	r.counts = func() (map[uint64]int, int) { return service.Counts(), service.MaxRunning() }
	r.recorded, r.theirs = rec.steps()
	return r
}

// run replays the session, then ends the connection, and leaves in r.steps what every event showed, and behind them
// what was notified and what was sent only at the very end.
func (r *replay) run() {
	var h pconn.Handler
	if r.handler.Handler != nil {
		h = r.handler
	}
	require.NoError(r.t, r.app.open(r.wire.in, r.wire.out, h, r.ext))
	read := make(chan struct{})
	go func() {
		defer close(read)
		r.read()
	}()
	for i := range r.rec.Events {
		r.steps = append(r.steps, r.event(i))
		r.settle(i)
	}
	if r.virtual != nil {
		want := r.virtual.steps[len(r.steps)].outcome
		require.Eventually(r.t, func() bool { return len(r.app.notifications()) >= len(want) }, aLot, time.Millisecond)
	}
	r.steps = append(r.steps, step{outcome: r.app.notifications()})

	r.cancel()
	require.NoError(r.t, r.app.conn.Close())
	r.wire.release()
	for _, op := range r.ops {
		<-op.done
	}
	<-read
	var last step
	for token := range r.arrivals {
		if token != eofToken && token != endToken {
			last.packets = append(last.packets, token)
		}
	}
	r.steps = append(r.steps, last)
	r.wire.closeSend()
	r.wire.closeRecv()
}

// event lets one event of the recording happen.
func (r *replay) event(i int) step {
	ev := &r.rec.Events[i]
	switch {
	case ev.Raw != nil:
		r.send(ev)
	case ev.RawCloses == "write end":
		r.wire.closeSend()
	case ev.RawCloses == "read end":
		r.wire.closeRecv()
	case ev.Real != nil:
		return step{packets: r.receive(i, ev)}
	case ev.Begin != 0:
		r.ops[ev.Begin] = r.start(ev)
	case ev.End != 0:
		return step{outcome: r.finish(i, r.ops[ev.End], ev.Outcome)}
	case ev.Op == "open":
		return step{outcome: "returned"}
	case ev.Op == "internals":
		return step{fields: r.internals()}
	case ev.Op == "fds":
		if r.wire.fds != nil {
			return step{outcome: openFDs(r.wire.fds())}
		}
	case ev.Op != "":
		op := r.start(ev)
		r.ops[-i] = op
		return step{outcome: r.finish(i, op, ev.Outcome)}
	default:
		r.t.Fatalf("event %d is of no known kind", i)
	}
	return step{}
}

// start begins an operation. A close is under way when it returns.
func (r *replay) start(ev *event) *operation {
	op := &operation{done: make(chan struct{})}
	waits := make(chan struct{})
	go func() {
		defer close(op.done)
		op.outcome = r.app.perform(ev, sync.OnceFunc(func() { close(waits) }))
	}()
	if ev.Op == "close" {
		select {
		case <-waits:
		case <-op.done:
		}
	}
	return op
}

// finish waits for an operation, as long as was waited in the recording.
func (r *replay) finish(i int, op *operation, recorded *outcome) string {
	patience := 3 * time.Second
	if _, text, ok := strings.Cut(recorded.Hang, "after "); ok {
		var err error
		patience, err = time.ParseDuration(text)
		require.NoError(r.t, err)
	}
	if r.virtual != nil {
		patience = aLot
		if r.virtual.steps[i].outcome == "hang" {
			patience = 0
		}
	}
	select {
	case <-op.done:
		return op.outcome
	case <-time.After(patience):
		return "hang"
	}
}

// send sends what raw sent, with the tags that our requests have where the recording answers the library's.
func (r *replay) send(ev *event) {
	b := wireBytes(r.t, ev.Raw)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(ev.Packets) > 0 {
		b = nil
	}
	for _, p := range ev.Packets {
		q, err := p.packet()
		require.NoError(r.t, err)
		if n := r.theirs.number(p.Tag); !p.IsRequest && p.Channel == "0" && n != 0 {
			q.Tag = r.ourTag(n)
		}
		b, err = q.Append(b)
		require.NoError(r.t, err)
	}
	_ = r.wire.send(b) // the library may have closed its side, as in a recording
}

// ourTag is the tag of our nth request, or one that was never used if there is no such request.
func (r *replay) ourTag(n int) uint64 {
	if n > len(r.ours) {
		return 1<<40 + uint64(n)
	}
	tag, err := strconv.ParseUint(string(r.ours[n-1]), 10, 64)
	require.NoError(r.t, err)
	return tag
}

// receive returns what came for an event, after as long a wait as the recording's.
func (r *replay) receive(i int, ev *event) (got []string) {
	want := 0
	for _, token := range r.recorded[i].packets {
		if token != endToken && !r.listed(difference{What: "not sent", Theirs: token}) {
			want++
		}
	}
	patience, all := 3*time.Second, ev.Then != ""
	if text, ok := strings.CutPrefix(ev.Then, "nothing more in "); ok {
		var err error
		patience, err = time.ParseDuration(text)
		require.NoError(r.t, err)
	}
	if r.virtual != nil {
		want, patience, all = r.virtual.packetsAt(i), aLot, false
	}
	over := time.After(patience)
	for (all || len(got) < want) && !r.ends {
		select {
		case token := <-r.arrivals:
			r.ends = token == endToken
			got = append(got, token)
			if r.virtual == nil && r.listed(difference{What: "sent besides", Ours: token}) {
				want++
			}
		case <-over:
			return got
		}
	}
	return got
}

// packetsAt is how many packets an event showed.
func (r *replay) packetsAt(i int) int {
	n := len(r.steps[i].packets)
	if n > 0 && r.steps[i].packets[n-1] == endToken {
		n--
	}
	return n
}

// settle waits until the connection has taken in what was sent to it. The recording paused for that.
func (r *replay) settle(i int) {
	if r.virtual == nil {
		synctest.Wait()
		r.reached = append(r.reached, r.progress())
		return
	}
	want := r.virtual.reached[i]
	require.Eventually(r.t, func() bool {
		now := r.progress()
		return now.packets >= want.packets && now.begun >= want.begun && (now.ended || !want.ended)
	}, aLot, time.Millisecond, "event %d: in virtual time it came to %+v", i, want)
}

func (r *replay) progress() progress {
	p := progress{packets: r.app.conn.Counters().PacketsIn.Load(), begun: r.handler.begun.Load()}
	select {
	case <-r.app.recvEOF:
		p.ended = true
	default:
	}
	return p
}

func (r *replay) internals() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var inUse []uint64
	pending := []int{}
	for _, f := range r.app.conn.InFlight() {
		if f.Out {
			pending = append(pending, r.ours.number(json.Number(strconv.FormatUint(f.Tag, 10))))
		} else {
			inUse = append(inUse, f.Tag)
		}
	}
	slices.Sort(inUse)
	slices.Sort(pending)
	counts, maxRunning := r.counts()
	byName := make(map[string]int)
	for typ, n := range counts {
		byName[strconv.FormatUint(typ, 10)] = n
	}
	return fieldsOf(r.sent, inUse, pending, byName, maxRunning)
}

// read takes in what the library sends until the end of its stream.
func (r *replay) read() {
	defer close(r.arrivals)
	var buf []byte
	for {
		chunk := make([]byte, 64<<10)
		n, err := r.wire.recv.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			p, size, short := packet.Decode(buf)
			if errors.Is(short, packet.ErrShort) {
				break
			}
			r.arrived(&p, short, buf[:size])
			buf = buf[size:]
		}
		if err != nil {
			r.arrivals <- endToken
			return
		}
	}
}

// arrived takes in one packet. One on another channel is refused at once, as the reference would.
func (r *replay) arrived(p *packet.Packet, err error, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if again, _ := p.Append(nil); err != nil || string(again) != string(b) {
		r.arrivals <- fmt.Sprintf("bytes that are not as the reference writes them: %x: %v", b, err)
		return
	}
	if r.ext == pconn.ExtensionsOffered && p.Channel == frame.Channel {
		return // a peer may not even answer it
	}
	token := recorded(p).token(&r.ours, nil)
	if token != eofToken {
		r.sent++
	}
	r.arrivals <- token
	if p.Request && p.Channel != 0 {
		reject := packet.Packet{Channel: p.Channel, Tag: p.Tag, Payload: []byte("unknown channel %d")}
		b, _ := reject.Append(nil)
		_ = r.wire.send(b)
	}
}

// steps are what the recording showed, in the form of a replay's steps, and the library's tags.
func (rec *recording) steps() (steps []step, own tags) {
	notified := []string{}
	ended := false
	for _, ev := range rec.Events {
		var s step
		for _, p := range ev.Packets {
			if ev.Real != nil {
				s.packets = append(s.packets, p.token(&own, nil))
			}
		}
		if ev.Then == endToken && !ended {
			ended = true
			s.packets = append(s.packets, endToken)
		}
		if ev.Op == "internals" {
			s.fields = ev.Outcome.fields(own)
		} else {
			s.outcome = ev.Outcome.String()
		}
		steps = append(steps, s)
	}
	for _, n := range rec.Notes {
		if n.Notified != "" {
			notified = append(notified, n.Notified)
		}
	}
	slices.Sort(notified)
	return append(steps, step{outcome: strings.Join(notified, " ")}, step{}), own
}
