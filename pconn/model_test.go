package pconn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// What the handlers of the model's ends are asked to do.
const (
	modelEcho  = iota
	modelFail  // with a text
	modelPanic // on purpose
	modelNest  // ask the asker, one level less
	modelWait  // until the gate opens
	modelLarge // answer with far more
)

const modelChannel = 5

// modelHandler serves both ends on both channels.
func modelHandler(g <-chan struct{}) pconn.Handler {
	return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case modelFail:
			return pconn.None(), pconn.NewError(uint64(len(req.Metadata)), fmt.Sprintf("fail %x", req.Payload), req.Metadata...)
		case modelPanic:
			panic("on purpose")
		case modelNest:
			if req.Flags == 0 {
				return pconn.Bytes(req.Payload), nil
			}
			resp, err := req.Conn.Do(ctx, pconn.Request{Channel: req.Channel, Type: modelNest, Flags: req.Flags - 1, Payload: req.Payload})
			return pconn.Bytes(resp.Payload), err
		case modelWait:
			select {
			case <-g:
			case <-ctx.Done():
			}
			return pconn.Bytes(req.Payload), nil
		case modelLarge:
			return pconn.Bytes(bytes.Repeat(req.Payload, 1000)), nil
		}
		return pconn.FlagsBytes(req.Flags, req.Payload).WithMetadata(req.Metadata), nil
	})
}

// modelCall is one thing that an end does, and what must come of it.
type modelCall struct {
	end, how, typ int
	channel       uint64
	flags         uint64
	payload       []byte
	cancel        bool // soon, or before
	metadata      pconn.Metadata
	timeout       time.Duration // long
}

func (m modelCall) request() pconn.Request {
	return pconn.Request{Channel: m.channel, Type: uint64(m.typ), Flags: m.flags, Payload: m.payload, Metadata: m.metadata, Timeout: m.timeout}
}

// check compares an outcome with the model's.
func (m modelCall) check(resp pconn.Response, err error) error {
	if m.cancel && (errors.Is(err, context.Canceled) || err == pconn.ErrCancelled) {
		return nil
	}
	want := pconn.Response{OK: true, Payload: m.payload}
	var code int
	switch m.typ {
	case modelEcho:
		want.Flags, want.Metadata = m.flags, m.metadata
	case modelFail:
		want = pconn.Response{Payload: fmt.Appendf(nil, "fail %x", m.payload)}
		code = len(m.metadata)
	case modelPanic:
		want = pconn.Response{Payload: []byte(failedText)}
	case modelLarge:
		want.Payload = bytes.Repeat(m.payload, 1000)
	}
	var remote *pconn.RemoteError
	switch {
	case want.OK && err != nil:
		return err
	case !want.OK && !errors.As(err, &remote):
		return fmt.Errorf("want a rejection, got %v", err)
	case remote != nil && (remote.Code != uint64(code) || len(remote.Details) != code):
		return fmt.Errorf("want code %d and as many details, got %+v", code, remote)
	case !slices.EqualFunc(resp.Metadata, want.Metadata, sameField):
		return fmt.Errorf("want metadata %q, got %q", want.Metadata, resp.Metadata)
	case resp.OK != want.OK || resp.Flags != want.Flags || !bytes.Equal(resp.Payload, want.Payload):
		return fmt.Errorf("want %d bytes %.20x flags %d, got %d bytes %.20x flags %d",
			len(want.Payload), want.Payload, want.Flags, len(resp.Payload), resp.Payload, resp.Flags)
	}
	return nil
}

func sameField(a, b pconn.Field) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }

// run does what the model says on a connection, and returns what was wrong.
func (m modelCall) run(c *pconn.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if m.cancel {
		go cancel()
	}
	switch m.how {
	case 0:
		return m.check(c.Do(ctx, m.request()))
	case 1:
		return m.check(c.DoInto(ctx, make([]byte, 50), m.request()))
	case 2:
		err := c.Notify(ctx, m.request())
		if m.cancel && errors.Is(err, context.Canceled) {
			err = nil
		}
		return err
	}
	r, err := c.Submit(context.WithoutCancel(ctx), m.request())
	if err != nil {
		return err
	}
	if m.cancel {
		go r.Cancel()
	}
	resp, err := r.Wait(context.WithoutCancel(ctx))
	<-r.Done()
	again, err2 := r.Wait(context.Background())
	if err != err2 || !bytes.Equal(resp.Payload, again.Payload) {
		return errors.New("two outcomes of one call")
	}
	return m.check(resp, err)
}

// drawExtensions returns what two ends do about extensions, and whether both will have them.
func drawExtensions(t *rapid.T) (a, b pconn.Extensions, both bool) {
	any := rapid.SampledFrom([]pconn.Extensions{pconn.ExtensionsLazy, pconn.ExtensionsOff, pconn.ExtensionsOffered, pconn.ExtensionsRequired})
	a, b = any.Draw(t, "a's extensions"), any.Draw(t, "b's extensions")
	if a == pconn.ExtensionsOff && b == pconn.ExtensionsRequired || b == pconn.ExtensionsOff && a == pconn.ExtensionsRequired {
		a, b = pconn.ExtensionsLazy, pconn.ExtensionsLazy
	}
	return a, b, a != pconn.ExtensionsOff && b != pconn.ExtensionsOff
}

func drawCall(t *rapid.T, i int, extended bool) modelCall {
	m := modelCall{
		end:     rapid.IntRange(0, 1).Draw(t, "end"),
		how:     rapid.IntRange(0, 3).Draw(t, "how"),
		typ:     rapid.SampledFrom([]int{modelEcho, modelEcho, modelFail, modelPanic, modelNest, modelWait, modelLarge}).Draw(t, "type"),
		channel: rapid.SampledFrom([]uint64{0, 0, modelChannel}).Draw(t, "channel"),
		cancel:  rapid.IntRange(0, 3).Draw(t, "cancel") == 0,
	}
	if m.typ == modelEcho || m.typ == modelNest {
		m.flags = rapid.Uint64Range(0, 9).Draw(t, "flags")
	}
	// No two payloads are alike, so that a mixed up answer is seen.
	size := rapid.SampledFrom([]int{0, 10, 4000, 40_000}).Draw(t, "size")
	m.payload = bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(i)), 1+size/4)
	if m.typ == modelFail || m.typ == modelLarge {
		m.payload = m.payload[:4]
	}
	if extended {
		for j := range rapid.IntRange(0, 2).Draw(t, "metadata") {
			m.metadata.AddText(fmt.Sprint("key ", j), fmt.Sprint("value ", i))
		}
		m.timeout = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "timeout")
	}
	return m
}

// TestModel has two ends do random things to each other at the same time. Every call ends once, with its
// own answer, and in the end nothing is left.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		open := make(chan struct{})
		extA, extB, extended := drawExtensions(t)
		opts := func(label string, ext pconn.Extensions) *pconn.Options {
			h := modelHandler(open)
			return &pconn.Options{
				Handler:     h,
				Extensions:  ext,
				Channels:    map[uint64]pconn.Handler{modelChannel: h},
				MaxHandlers: rapid.IntRange(1, 4).Draw(t, label+" handlers"),
				Grace:       rapid.SampledFrom([]time.Duration{0, 0, 100 * time.Microsecond}).Draw(t, label+" grace"),
			}
		}
		room := rapid.SampledFrom([]int{500, 4 << 10, 1 << 20}).Draw(t, "room")
		aIn, bOut := bufio.Pipe(room)
		bIn, aOut := bufio.Pipe(room)
		a, err := pconn.New(aIn, aOut, opts("a", extA))
		if err != nil {
			t.Fatal(err)
		}
		b, err := pconn.New(bIn, bOut, opts("b", extB))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		n := rapid.IntRange(1, 40).Draw(t, "calls")
		results := make(chan error, n)
		var wg sync.WaitGroup
		for i := range n {
			m := drawCall(t, i, extended)
			c := []*pconn.Conn{a, b}[m.end]
			wg.Go(func() {
				if err := m.run(c); err != nil {
					results <- fmt.Errorf("%+v: %w", m, err)
				}
			})
		}
		close(open)
		wg.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		wg.Go(func() { results <- a.Shutdown(ctx) })
		bothShutDown := rapid.Bool().Draw(t, "both shut down")
		if bothShutDown {
			wg.Go(func() { _ = b.Shutdown(ctx) })
		}
		wg.Wait()
		for len(results) > 0 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
		for c, peer := range map[*pconn.Conn]*pconn.Conn{a: b, b: a} {
			rejections := uint64(0)
			if !extended {
				rejections++ // of a HELLO
			}
			if c == a || bothShutDown {
				// A request that was given up is not waited for, and may come to an end that shuts down.
				rejections += peer.Counters().Cancelled.Load()
			}
			if left := c.InFlight(); len(left) > 0 {
				t.Fatalf("left in flight: %v", left)
			}
			n := c.Counters()
			if out := n.Unsolicited.Load() + n.RepeatedTags.Load(); out > 0 {
				t.Fatalf("%d packets out of order", out)
			}
			if rejected := n.Rejected.Load(); rejected > rejections {
				t.Fatalf("%d packets rejected, of which %d may be", rejected, rejections)
			}
			if lost := n.LostHeaders.Load(); lost > 0 {
				t.Fatalf("%d requests did not follow their headers", lost)
			}
		}
		// The last answers are counted as soon as they were handed over.
		for deadline := time.Now().Add(patience); !sameCounts(a, b); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("packets are lost")
			}
		}
	})
}

// sameCounts says whether each end has counted as many packets out as the other in, but for those that it took out again.
func sameCounts(a, b *pconn.Conn) bool {
	same := func(from, to *pconn.Counters) bool {
		return from.PacketsOut.Load()-from.Withdrawn.Load() == to.PacketsIn.Load() &&
			from.BytesOut.Load()-from.WithdrawnBytes.Load() == to.BytesIn.Load()
	}
	return same(a.Counters(), b.Counters()) && same(b.Counters(), a.Counters())
}
