package pconn_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

const failedText = "exception during handler"

// answerOf returns what the wire carries for a handler's outcome: the packet's flags and the payload.
func answerOf(t *testing.T, h pconn.Handler) (uint64, string) {
	t.Helper()
	p := raw(t, &pconn.Options{Handler: h})
	p.write(request(9, 1, ""))
	got := p.read()
	require.False(t, got.Request)
	require.EqualValues(t, 9, got.Tag)
	require.Zero(t, got.Channel)
	return got.Flags, string(got.Payload)
}

func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply   pconn.Reply
		flags   uint64
		payload string
	}{
		"none":           {pconn.None(), 1, ""},
		"zero":           {pconn.Reply{}, 1, ""},
		"flags":          {pconn.Flags(5), 11, ""},
		"bytes":          {pconn.Bytes([]byte("b\xff")), 1, "b\xff"},
		"nil bytes":      {pconn.Bytes(nil), 1, ""},
		"text":           {pconn.Text("t\xff"), 1, "t&#56575;"},
		"empty text":     {pconn.Text(""), 1, ""},
		"flags bytes":    {pconn.FlagsBytes(3, []byte("p")), 7, "p"},
		"most flags":     {pconn.Flags(1<<61 - 1), packet.MaxFlags, ""},
		"too many flags": {pconn.Flags(1 << 61), 0, "reply flags 0x2000000000000000 do not fit in 61 bits"},
		"large":          {pconn.Bytes(pattern(100_000)), 1, string(pattern(100_000))},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
				return c.reply, nil
			}))
			require.Equal(t, c.flags, flags)
			require.Equal(t, c.payload, payload)
		})
	}
}

// TestAdapt has every row of the reference's table of handler results. Where the reference answers
// nothing at all, or sends what reads as something else (-1), ours is an error response.
func TestAdapt(t *testing.T) {
	for name, c := range map[string]struct {
		result  any
		err     error
		flags   uint64
		payload string
	}{
		"None":                {nil, nil, 1, ""},
		"int":                 {5, nil, 11, ""},
		"int8":                {int8(5), nil, 11, ""},
		"int16":               {int16(5), nil, 11, ""},
		"int32":               {int32(5), nil, 11, ""},
		"int64":               {int64(5), nil, 11, ""},
		"uint":                {uint(5), nil, 11, ""},
		"uint8":               {uint8(5), nil, 11, ""},
		"uint16":              {uint16(5), nil, 11, ""},
		"uint32":              {uint32(5), nil, 11, ""},
		"uint64":              {uint64(5), nil, 11, ""},
		"bytes":               {[]byte("\x00hello\xff"), nil, 1, "\x00hello\xff"},
		"str":                 {"naïve", nil, 1, "naïve"},
		"str with surrogates": {"a\xed\xa0\x80b", nil, 1, "a&#55296;b"},
		"pair":                {pconn.Pair{Flags: 3, Payload: []byte("p")}, nil, 7, "p"},
		"list of two":         {[]any{7, []byte("list")}, nil, 15, "list"},
		"tuple":               {[2]any{uint8(1), []byte("t")}, nil, 3, "t"},
		"pair of bool":        {[]any{true, []byte("bool")}, nil, 3, "bool"},
		"True":                {true, nil, 3, ""},
		"False":               {false, nil, 1, ""},
		"Reply":               {pconn.Flags(2), nil, 5, ""},
		"list of three":       {[]any{1, []byte("a"), 2}, nil, 0, failedText},
		"list of one":         {[]any{1}, nil, 0, failedText},
		"float":               {1.5, nil, 0, failedText},
		"bytearray":           {[3]byte{1, 2, 3}, nil, 0, failedText},
		"int and str":         {[]any{1, "text"}, nil, 0, failedText},
		"str and bytes":       {[]any{"x", []byte("")}, nil, 0, failedText},
		"int and memoryview":  {[]any{3, strings.NewReader("")}, nil, 0, failedText},
		"None and bytes":      {[]any{nil, []byte("")}, nil, 0, failedText},
		"minus one":           {-1, nil, 0, failedText},
		"pair of minus one":   {[]any{int8(-1), []byte("")}, nil, 0, failedText},
		"2**61":               {uint64(1 << 61), nil, 0, "reply flags 0x2000000000000000 do not fit in 61 bits"},
		"pointer":             {new(int), nil, 0, failedText},
		"raises":              {nil, errors.New("secret"), 0, failedText},
		"error and result":    {[]byte("x"), errors.New("secret"), 0, failedText},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.Adapt(func(context.Context, *pconn.Request) (any, error) { return c.result, c.err }))
			require.Equal(t, c.flags, flags)
			require.Equal(t, c.payload, payload)
		})
	}
}

// sendText sends a text as a reply and returns the payload that comes.
func textSender(t testing.TB) func(string) string {
	a, _ := pair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(string(req.Payload)), nil
	}))
	ctx := soon(t)
	return func(s string) string {
		resp, err := a.Do(ctx, pconn.Request{Payload: []byte(s)})
		if err != nil {
			return "failed: " + err.Error()
		}
		return string(resp.Payload)
	}
}

// TestTextIsPythons compares with what Python 3.11 made of the same bytes: decoded with encoded
// surrogates let pass and other bad bytes escaped, then encoded with xmlcharrefreplace.
func TestTextIsPythons(t *testing.T) {
	data, err := os.ReadFile("testdata/text.json")
	require.NoError(t, err)
	var cases []struct{ In, Out string }
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Greater(t, len(cases), 300)
	send := textSender(t)
	for _, c := range cases {
		in, err := hex.DecodeString(c.In)
		require.NoError(t, err)
		require.Equal(t, c.Out, hex.EncodeToString([]byte(send(string(in)))), "%q", in)
	}
}

func TestTextProperties(t *testing.T) {
	send := textSender(t)
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOfN(rapid.SampledFrom([]byte("a&#;\xed\xa0\x80\xbf\xb2\xf0\x9f\x98\xc3\xa4\xe6\xff")), 0, 30).Draw(t, "s"))
		got := send(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q was good, and became %q", s, got)
		}
	})
}

func TestErrorf(t *testing.T) {
	inner := errors.New("inner")
	err := pconn.Errorf("outer: %w", inner)
	require.ErrorIs(t, err, inner)
	require.EqualError(t, err, "outer: inner")
	long := strings.Repeat("ä", 600) // 1200 bytes
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"plain":              {pconn.Errorf("number %d", 5), "number 5"},
		"wrapped":            {fmt.Errorf("more: %w", pconn.Errorf("told")), "told"},
		"cut":                {pconn.Errorf("%s", strings.Repeat("x", 2000)), strings.Repeat("x", 1024)},
		"cut at a character": {pconn.Errorf("x%s", long), "x" + long[:1022]},
		"exactly 1 KiB":      {pconn.Errorf("%s", long[:1024]), long[:1024]},
		"bad bytes":          {pconn.Errorf("\xff"), "&#56575;"},
		"empty":              {pconn.Errorf(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
				return pconn.Text("not sent"), c.err
			}))
			require.Zero(t, flags)
			require.Equal(t, c.want, payload)
			require.True(t, utf8.ValidString(payload))
		})
	}
}

// nilError is an error whose methods do not bear a nil pointer, as returned by mistake all too easily.
type nilError struct{ inner error }

func (e *nilError) Error() string { return e.inner.Error() }
func (e *nilError) Unwrap() error { return e.inner }

func TestFailingHandlersAreAnsweredAndReported(t *testing.T) {
	plain := errors.New("secret")
	var nobody *nilError
	for name, c := range map[string]struct {
		h     handler
		check func(t *testing.T, err error)
	}{
		"error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), plain },
			func(t *testing.T, err error) { require.Equal(t, plain, err) },
		},
		"nil pointer as an error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), nobody },
			func(t *testing.T, err error) { require.True(t, err == error(nobody)) },
		},
		"panic": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic("secret") },
			func(t *testing.T, err error) {
				var p *pconn.PanicError
				require.ErrorAs(t, err, &p)
				require.Equal(t, "secret", p.Value)
				require.Contains(t, string(p.Stack), "TestFailingHandlers")
				require.EqualError(t, err, "pconn: panic in handler: secret")
			},
		},
		"panic with an error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(plain) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, plain) },
		},
		"nil dereference": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), nobody.inner },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "nil pointer") },
		},
		"panic of nil": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(nil) },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "nil") },
		},
		"panic of Errorf": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(plain) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, plain) },
		},
		"Goexit": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { runtime.Goexit(); panic("unreachable") },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "goroutine") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			reported := make(chan error, 1)
			for _, hook := range []func(*pconn.Request, error){
				func(req *pconn.Request, err error) {
					assert.EqualValues(t, 1, req.Type)
					reported <- err
				},
				func(*pconn.Request, error) { panic("in the hook") },
				func(*pconn.Request, error) { runtime.Goexit() },
				nil,
			} {
				o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
					if req.Type == 0 {
						return pconn.Text("fine"), nil
					}
					return c.h(ctx, req)
				})
				o.OnHandlerError, o.MaxHandlers = hook, 1
				p := raw(t, o)
				// Often enough for inline handlers as well as those with a goroutine.
				for tag := uint64(10); tag < 16; tag++ {
					p.write(request(tag, 1, "x"))
					p.expectResponse(tag, false, failedText)
					if hook != nil && len(reported) > 0 {
						c.check(t, <-reported)
					}
				}
				p.write(request(20, 0, ""))
				p.expectResponse(20, true, "fine")
				require.EqualValues(t, 6, p.conn.Counters().HandlerErrors.Load())
				require.Empty(t, p.conn.InFlight())
			}
		})
	}
}

func TestReplyTooLargeIsAnErrorReply(t *testing.T) {
	o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(make([]byte, 100+req.Type)), nil
	})
	o.MaxPayload = 100
	p := raw(t, o)
	p.write(request(2, 1, ""))
	p.expectResponse(2, false, "pconn: reply payload, bytes: 101 is over the limit of 100")
	p.write(request(3, 0, ""))
	p.expectResponse(3, true, strings.Repeat("\x00", 100))
}

func TestHandlerSeesTheRequest(t *testing.T) {
	var got pconn.Request
	o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		got = *req
		assert.Equal(t, pconn.Peer{PID: 17, UID: 3, HasUID: true}, req.Peer())
		req.Payload[0] = 'X' // it is the handler's
		return pconn.Bytes(req.Payload), nil
	})
	o.Name, o.Peer = "server", pconn.Peer{PID: 17, UID: 3, HasUID: true}
	a, b := pair(t, nil, o)
	payload := []byte("abc")
	resp, err := a.Do(soon(t), pconn.Request{Type: 4, Flags: 6, Payload: payload})
	require.NoError(t, err)
	require.Equal(t, "Xbc", string(resp.Payload))
	require.Equal(t, "abc", string(payload))
	require.Same(t, b, got.Conn)
	require.Equal(t, "server", got.Conn.Name())
	require.EqualValues(t, 4, got.Type)
	require.EqualValues(t, 6, got.Flags)
	require.Zero(t, got.Channel)
}

func TestHandlersLimit(t *testing.T) {
	g := newGate(t)
	var now, most atomic.Int32
	o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return g.serve(ctx, req)
	})
	o.MaxHandlers = 3
	p := raw(t, o)
	for tag := range uint64(10) {
		p.write(request(tag+2, tag, ""))
	}
	for range 3 {
		receiveFrom(t, g.entered)
	}
	eventually(t, "the rest is queued", func() bool {
		return count(p.conn, pconn.StateQueued) == 7 && count(p.conn, pconn.StateAtWork) == 3
	})
	require.EqualValues(t, 3, now.Load())
	g.release()
	for range 10 {
		require.EqualValues(t, 1, p.read().Flags)
	}
	require.EqualValues(t, 3, most.Load())
	require.Empty(t, p.conn.InFlight())
}

// count returns how many requests are in flight in a state.
func count(c *pconn.Conn, s pconn.InFlightState) int {
	n := 0
	for _, f := range c.InFlight() {
		if f.State == s {
			n++
		}
	}
	return n
}

// TestHandlersThatWaitGiveTheirPlaceAway has as many handlers waiting as there may be at work, in each
// way to wait, and one more that must be served before they can go on.
func TestHandlersThatWaitGiveTheirPlaceAway(t *testing.T) {
	const limit = 4
	for name, wait := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Do": func(ctx context.Context, c *pconn.Conn) error {
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
		"DoInto": func(ctx context.Context, c *pconn.Conn) error {
			_, err := c.DoInto(ctx, make([]byte, 10), pconn.Request{})
			return err
		},
		"derived context": func(ctx context.Context, c *pconn.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
		"Submit and Wait": func(ctx context.Context, c *pconn.Conn) error {
			r, err := c.Submit(ctx, pconn.Request{})
			if err != nil {
				return err
			}
			_, err = r.Wait(ctx)
			return err
		},
		"Submit and Value": func(ctx context.Context, c *pconn.Conn) error {
			r, err := c.Submit(ctx, pconn.Request{})
			if err != nil {
				return err
			}
			_, err = r.Value(ctx)
			return err
		},
		"Channel": func(ctx context.Context, c *pconn.Conn) error {
			ch, err := c.Channel(3, nil)
			if err != nil {
				return err
			}
			_, err = ch.Do(ctx, pconn.Request{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			released := make(chan struct{})
			var once sync.Once
			release := func() { once.Do(func() { close(released) }) }
			defer release()
			back := pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) { <-released; return pconn.None(), nil })
			client := &pconn.Options{Handler: back, Channels: map[uint64]pconn.Handler{3: back}}
			server := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Type == 1 {
					return pconn.Text("served"), nil
				}
				return pconn.None(), wait(ctx, req.Conn)
			})
			server.MaxHandlers = limit
			a, b := pair(t, client, server)
			var waiting []<-chan outcome
			for range limit {
				waiting = append(waiting, do(soon(t), a, pconn.Request{}))
			}
			eventually(t, "all wait", func() bool { return count(b, pconn.StateCalling) == limit })
			resp, err := a.Do(soon(t), pconn.Request{Type: 1})
			require.NoError(t, err)
			require.Equal(t, "served", string(resp.Payload))
			release()
			for _, w := range waiting {
				require.NoError(t, receiveFrom(t, w).err)
			}
		})
	}
}

// TestPlacesAreCountedRight lets handlers wait in many goroutines of theirs, some of which outlive them,
// and checks that the limit is the same afterwards.
func TestPlacesAreCountedRight(t *testing.T) {
	const limit = 2
	back := newGate(t)
	var left sync.WaitGroup
	g := newGate(t)
	server := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case 0:
			for range 3 {
				left.Go(func() { req.Conn.Do(ctx, pconn.Request{Type: 5}) })
			}
			if req.Flags == 1 { // leave while they wait
				for range 3 {
					<-back.entered
				}
			}
			return pconn.None(), nil
		default:
			return g.serve(ctx, req)
		}
	})
	server.MaxHandlers = limit
	a, b := pair(t, serve(back.serve), server)
	for i := range 20 {
		_, err := a.Do(soon(t), pconn.Request{Flags: uint64(i % 2)})
		require.NoError(t, err)
	}
	back.release()
	within(t, left.Wait)
	var results []<-chan outcome
	for range 5 {
		results = append(results, do(soon(t), a, pconn.Request{Type: 1}))
	}
	eventually(t, "as many as may be are at work", func() bool {
		return count(b, pconn.StateAtWork) == limit && count(b, pconn.StateQueued) == 5-limit
	})
	for range limit {
		receiveFrom(t, g.entered)
	}
	require.Empty(t, g.entered, "no more than the limit")
	g.release()
	for _, r := range results {
		require.NoError(t, receiveFrom(t, r).err)
	}
}

func TestGoroutineLeftBehindMayNotUseTheContext(t *testing.T) {
	result := make(chan error, 1)
	g := newGate(t)
	a, _ := pair(t, serve(echo), serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		go func() {
			<-g.open
			_, err := req.Conn.Do(ctx, pconn.Request{})
			result <- err
		}()
		return pconn.None(), nil
	}))
	_, err := a.Do(soon(t), pconn.Request{})
	require.NoError(t, err)
	g.release()
	require.True(t, receiveFrom(t, result) == context.Canceled)
}

func TestAnswersOfInlineAndOtherHandlersMix(t *testing.T) {
	// Types whose handlers wait get goroutines, others run on the receiving one; all are answered.
	a, _ := pair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type%3 == 0 {
			runtime.Gosched()
		}
		if req.Type%7 == 0 {
			done := make(chan struct{})
			go close(done)
			<-done
		}
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	}))
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 300 {
				want := fmt.Appendf(nil, "%d %d", g, i)
				resp, err := a.Do(soon(t), pconn.Request{Type: uint64(i), Flags: uint64(g), Payload: want})
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, want, resp.Payload)
			}
		})
	}
	wg.Wait()
}

// TestManyRepliesThroughAFullQueue has far more to answer than may be queued, to a peer that reads
// slowly, so that handlers wait for room again and again.
func TestManyRepliesThroughAFullQueue(t *testing.T) {
	reply := pattern(60_000)
	p := rawSized(t, serve(func(_ context.Context, _ *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(reply), nil
	}), 1<<20, 8<<10)
	const n = 400
	go func() {
		for tag := range uint64(n) {
			if p.tryWrite(request(tag+2, tag, "")) != nil {
				return
			}
		}
	}()
	for range n {
		got := p.read()
		require.EqualValues(t, 1, got.Flags)
		require.Len(t, got.Payload, len(reply))
	}
}
