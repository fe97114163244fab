//go:build linux && (long || soak)

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// memoryChildren are what the test binary is as a child of the tests of memory.
var memoryChildren = map[string]func() error{"server": serverChild, "raw": rawChild}

// Request types of both children.
const (
	typeEcho   = iota // answers flags and payload
	typeMemory        // answers a memory as JSON
	typeLate          // the raw child answers when lateAfter more of them have come
	typeNever         // the raw child does not answer
)

const (
	inFlight  = 64
	lateAfter = 100
)

// memory is what a process uses after a collection, in MiB.
type memory struct{ Heap, RSS float64 }

const mib = 1 << 20

func measure() (m memory, err error) {
	// Goroutines and pools that are on their way out go in the second collection.
	runtime.GC()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	var size, pages int
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	return memory{float64(stats.HeapAlloc) / mib, float64(pages*os.Getpagesize()) / mib}, err
}

func measureJSON() ([]byte, error) {
	m, err := measure()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// serverChild serves on standard input and output.
func serverChild() error {
	return endpoint.ServeStdio(context.Background(), &pconn.Options{
		Handler: pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type != typeMemory {
				return pconn.FlagsBytes(req.Flags, req.Payload), nil
			}
			b, err := measureJSON()
			return pconn.Bytes(b), err
		}),
	})
}

// rawChild is a peer that owes answers, which a connection of ours never does.
func rawChild() error {
	in, err := bufio.InputFD(0)
	if err != nil {
		return err
	}
	out, err := bufio.OutputFD(1)
	if err != nil {
		return err
	}
	var late []uint64 // tags
	var batch bufio.Batch
	answer := func(tag, flags uint64, payload []byte) error {
		p := packet.Packet{Tag: tag, Flags: flags<<1 | 1, Payload: payload}
		b, err := p.Append(batch.Begin())
		batch.End(b)
		return err
	}
	for {
		p, err := packet.Read(in, pconn.DefaultMaxPayload)
		switch {
		case err != nil:
			return err
		case p.Request && p.Type == 0: // EOF
			err = answerEOF(&batch)
			return errors.Join(err, out.Write(&batch, true))
		case p.Type-1 == typeEcho:
			err = answer(p.Tag, p.Flags, p.Payload)
		case p.Type-1 == typeLate:
			late = append(late, p.Tag)
			if len(late) == lateAfter {
				err = answer(late[0], 0, nil)
				late = late[:copy(late, late[1:])]
			}
		case p.Type-1 == typeMemory:
			var b []byte
			if b, err = measureJSON(); err == nil {
				err = answer(p.Tag, 0, b)
			}
		}
		if err == nil && in.Buffered() == 0 {
			err = out.Write(&batch, true)
			batch.Reset()
		}
		if err != nil {
			return err
		}
	}
}

func answerEOF(batch *bufio.Batch) error {
	eof := packet.EOF()
	b, err := eof.Append(batch.Begin())
	batch.End(b)
	return err
}

// load is many requests to a child, measured from time to time.
type load struct {
	t     *testing.T
	ctx   context.Context
	child *endpoint.Child

	// unanswered lets one request of a hundred be cancelled and one be given up that is never answered.
	unanswered     bool
	late, answered atomic.Int64
}

func newLoad(t *testing.T, child string) *load {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+child)
	l := &load{t: t, ctx: t.Context(), unanswered: child == "raw"}
	var err error
	l.child, err = endpoint.Start(l.ctx, cmd, nil)
	require.NoError(t, err)
	return l
}

// run makes n requests, inFlight at a time.
func (l *load) run(n int) {
	var wg sync.WaitGroup
	for w := range inFlight {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			payload := make([]byte, 16)
			for range n / inFlight {
				binary.NativeEndian.PutUint64(payload, rnd.Uint64())
				if err := l.request(rnd.IntN(100), payload); err != nil {
					l.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.False(l.t, l.t.Failed())
}

func (l *load) request(which int, payload []byte) error {
	switch {
	case l.unanswered && which == 0:
		l.late.Add(1)
		r, err := l.child.Submit(l.ctx, pconn.Request{Type: typeLate, Payload: payload})
		if err == nil && !r.Cancel() {
			err = errors.New("a request was answered before it was due")
		}
		return err
	case l.unanswered && which == 1:
		ctx, cancel := context.WithTimeout(l.ctx, time.Millisecond)
		defer cancel()
		_, err := l.child.Do(ctx, pconn.Request{Type: typeNever, Payload: payload})
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return fmt.Errorf("a request that nobody answers: %w", err)
	}
	resp, err := l.child.Do(l.ctx, pconn.Request{Type: typeEcho, Flags: 5, Payload: payload})
	l.answered.Add(1)
	if err == nil && (resp.Flags != 5 || !bytes.Equal(resp.Payload, payload)) {
		err = fmt.Errorf("got %d %x, want %x", resp.Flags, resp.Payload, payload)
	}
	return err
}

// measure measures both processes, ours first.
func (l *load) measure() (ours, childs memory) {
	ours, err := measure()
	require.NoError(l.t, err)
	resp, err := l.child.Do(l.ctx, pconn.Request{Type: typeMemory})
	require.NoError(l.t, err)
	l.answered.Add(1)
	require.NoError(l.t, json.Unmarshal(resp.Payload, &childs))
	return ours, childs
}

// rise measures after each of a number of rounds, and fails if anything grows by more than 0.2 MiB for a million
// requests.
//
// What is judged is the slope of the straight line nearest to all measurements. A leak is a line; resident
// memory goes up and down by half a MiB, which a difference of two measurements would take for a rise or hide one in.
func (l *load) rise(rounds, each int) {
	var series [4][]float64
	var table strings.Builder
	fmt.Fprintf(&table, "%10s %18s %18s %18s %18s\n", "requests", "our heap MiB", "our RSS MiB", "child's heap MiB", "child's RSS MiB")
	began := time.Now()
	for i := range rounds {
		l.run(each)
		ours, childs := l.measure()
		fmt.Fprintf(&table, "%10d", (i+1)*each)
		for j, v := range []float64{ours.Heap, ours.RSS, childs.Heap, childs.RSS} {
			series[j] = append(series[j], v)
			fmt.Fprintf(&table, " %18.2f", v)
		}
		fmt.Fprintln(&table)
	}
	fmt.Fprintf(&table, "%10s", "a million")
	for _, s := range series {
		fmt.Fprintf(&table, " %+18.3f", slope(s)*1e6/float64(each))
	}
	took := time.Since(began)
	l.t.Logf("%d in flight, %.0f requests/s\n%s", inFlight, float64(rounds*each)/took.Seconds(), table.String())
	for _, s := range series {
		require.LessOrEqual(l.t, slope(s)*1e6/float64(each), 0.2, "MiB for a million requests")
	}
}

// slope is that of the line nearest to the values, for each step.
func slope(values []float64) float64 {
	n := float64(len(values))
	var sx, sy, sxx, sxy float64
	for i, y := range values {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// end ends the child in good order and checks the counts.
func (l *load) end() {
	counters := l.child.Counters()
	cancelled := int64(counters.Cancelled.Load())
	require.EqualValues(l.t, l.answered.Load()+cancelled, counters.RequestsOut.Load())
	if l.unanswered {
		require.Greater(l.t, cancelled, l.late.Load())
		require.EqualValues(l.t, l.late.Load()-lateAfter+1, counters.LateResponses.Load())
	}
	require.Empty(l.t, l.child.InFlight())
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	require.NoError(l.t, l.child.Shutdown(ctx))
}
