package pconn_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

func metadata(fields ...string) pconn.Metadata {
	var md pconn.Metadata
	for i := 0; i < len(fields); i += 2 {
		md.AddText(fields[i], fields[i+1])
	}
	return md
}

// mirror answers with the metadata that came, and one field more.
func mirror(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	md := append(req.Metadata, pconn.Field{Key: "seen", Value: []byte("yes")})
	return pconn.Bytes(req.Payload).WithMetadata(md), nil
}

func TestMetadataBothWays(t *testing.T) {
	opts := serve(mirror)
	opts.Channels = map[uint64]pconn.Handler{5: pconn.HandlerFunc(mirror)}
	a, b, err := pconn.Pipe(&pconn.Options{Channels: map[uint64]pconn.Handler{5: nil}}, opts)
	require.NoError(t, err)
	defer a.Close()
	defer b.Close()
	ch, err := a.Channel(5, nil)
	require.NoError(t, err)
	md := metadata("a", "1", "b", "", "a", "2", "", "no key")
	req := pconn.Request{Payload: []byte("p"), Metadata: md}
	want := append(md[:len(md):len(md)], pconn.Field{Key: "seen", Value: []byte("yes")})
	check := func(resp pconn.Response, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, resp.Metadata)
		require.Equal(t, "p", string(resp.Payload))
	}
	check(a.Do(soon(t), req)) // lazily: the first use offers the extensions
	check(ch.Do(soon(t), req))
	check(a.DoInto(soon(t), make([]byte, 8), req))
	r, err := a.Submit(soon(t), req)
	require.NoError(t, err)
	check(r.Wait(soon(t)))
	large := req
	large.Payload = pattern(100_000)
	resp, err := a.Do(soon(t), large)
	require.NoError(t, err)
	require.Equal(t, large.Payload, resp.Payload)
	require.Equal(t, want, resp.Metadata)
	// And without, nothing is left over from before.
	resp, err = a.Do(soon(t), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, metadata("seen", "yes"), resp.Metadata)
	require.Zero(t, a.Counters().LostHeaders.Load()+b.Counters().LostHeaders.Load())
}

func TestMetadataOfTypedCalls(t *testing.T) {
	mux := pconn.NewMux()
	mux.Handle(1, pconn.Typed(func(ctx context.Context, n int) (int, error) {
		md := pconn.RequestOf(ctx).Metadata
		require.True(t, pconn.SetReplyMetadata(ctx, metadata("asked by", md.Text("user"))))
		return n + 1, nil
	}))
	a, _ := extendedPair(t, nil, &pconn.Options{Handler: mux})
	var reply pconn.Metadata
	sum, err := pconn.Call[int, int](soon(t), pconn.WithMetadata(a, metadata("user", "ada"), &reply), 1, 41)
	require.NoError(t, err)
	require.Equal(t, 42, sum)
	require.Equal(t, "ada", reply.Text("asked by"))
	require.Nil(t, pconn.RequestOf(context.Background()))
	require.False(t, pconn.SetReplyMetadata(context.Background(), nil))
}

func TestMetadataAsAList(t *testing.T) {
	md := metadata("a", "1", "b", "2", "a", "3")
	v, ok := md.Lookup("b")
	require.True(t, ok)
	require.Equal(t, "2", string(v))
	_, ok = md.Lookup("c")
	require.False(t, ok)
	var all []string
	for v := range md.All("a") {
		all = append(all, string(v))
	}
	require.Equal(t, []string{"1", "3"}, all)
	for range md.All("a") {
		break
	}
}

func TestMetadataNeedsExtensions(t *testing.T) {
	p := raw(t, nil)
	out := do(soon(t), p.conn, pconn.Request{Metadata: metadata("a", "1")})
	hello := p.expectFrame(frame.KindHello)
	p.write(answer(hello.Tag, false, []byte("unknown channel %d")))
	require.Equal(t, pconn.ErrNoExtensions, receiveFrom(t, out).err)
	_, err := p.conn.Ping(soon(t))
	require.Equal(t, pconn.ErrNoExtensions, err)

	q := raw(t, &pconn.Options{Extensions: pconn.ExtensionsOff})
	_, err = q.conn.Do(soon(t), pconn.Request{Metadata: metadata("a", "1")})
	require.Equal(t, pconn.ErrNoExtensions, err)
}

// Who waits for HELLO's answer waits within its context.
func TestMetadataWaitsWithinItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		ctx, cancel := context.WithCancel(soon(t))
		out := do(ctx, p.conn, pconn.Request{Metadata: metadata("a", "1")})
		p.expectFrame(frame.KindHello)
		cancel()
		require.Equal(t, context.Canceled, receiveFrom(t, out).err)
		out = do(soon(t), p.conn, pconn.Request{Metadata: metadata("a", "1")})
		synctest.Wait() // a call that comes after the end would find the connection shutting down
		p.write(eof)
		require.ErrorIs(t, receiveFrom(t, out).err, pconn.ErrPeerClosed)
	})
}

func TestTooMuchMetadata(t *testing.T) {
	a, b := extendedPair(t, serve(mirror), serve(func(_ context.Context, _ *pconn.Request) (pconn.Reply, error) {
		return pconn.None().WithMetadata(metadata("k", strings.Repeat("x", 70_000))), nil
	}))
	var limit *pconn.LimitError
	_, err := a.Do(soon(t), pconn.Request{Metadata: metadata("k", strings.Repeat("x", 64<<10))})
	require.ErrorAs(t, err, &limit)
	require.EqualValues(t, 64<<10, limit.Max)
	_, err = a.Do(soon(t), pconn.Request{Metadata: make(pconn.Metadata, 3000)})
	require.ErrorAs(t, err, &limit)
	require.EqualValues(t, 3000*32, limit.Value)
	// As much as there may be.
	most := metadata("k", strings.Repeat("x", 64<<10-33))
	resp, err := b.Do(soon(t), pconn.Request{Metadata: most[:1:1], Timeout: time.Hour})
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote) // the mirror adds to it
	require.Contains(t, remote.Text(), "reply metadata, bytes")
	require.Empty(t, resp.Metadata)
	_, err = a.Do(soon(t), pconn.Request{})
	require.ErrorAs(t, err, &remote)
	require.Contains(t, remote.Text(), "reply metadata, bytes")
}

// A peer that sends too much of it fails its own call only.
func TestHeadersOverTheBound(t *testing.T) {
	p := extended(t, serve(mirror))
	big := (&frame.Headers{Metadata: metadata("k", strings.Repeat("x", 70_000))}).Append(nil)
	many := (&frame.Headers{Metadata: make([]frame.Pair, 3000)}).Append(nil)
	for i, headers := range [][]byte{big, many} {
		tag := uint64(10 + i)
		p.write(frameOf(frame.KindHeaders, tag, 0, headers))
		p.write(request(tag, 1, "x"))
		reason := p.expectFrame(frame.KindHeaders)
		require.EqualValues(t, frame.FlagResponse, reason.Flags)
		got := p.read()
		require.EqualValues(t, 0, got.Flags)
		require.Contains(t, string(got.Payload), "request metadata, bytes")

		out := do(soon(t), p.conn, pconn.Request{Type: 2})
		p.expectFrame(frame.KindHeaders) // the time left
		tag = p.expectRequest(2, "")
		p.write(frameOf(frame.KindHeaders, tag, frame.FlagResponse, headers))
		p.write(response(tag, "answer"))
		var limit *pconn.LimitError
		require.ErrorAs(t, receiveFrom(t, out).err, &limit)
	}
}

// HEADERS of a packet that does not follow are forgotten, however many there are.
func TestHeadersOfNothing(t *testing.T) {
	p := extended(t, serve(mirror))
	headers := (&frame.Headers{Metadata: metadata("k", strings.Repeat("x", 1000))}).Append(nil)
	for tag := range uint64(1000) {
		p.write(frameOf(frame.KindHeaders, 100+tag, 0, headers))
	}
	p.write(request(5, 1, "x"))
	got := p.expectFrame(frame.KindHeaders)
	require.EqualValues(t, 5, got.Tag)
	f, err := frame.ParseHeaders(got.Payload)
	require.NoError(t, err)
	require.Equal(t, []frame.Pair(metadata("seen", "yes")), f.Metadata)
	p.expectResponse(5, true, "x")
	require.EqualValues(t, 1000, p.conn.Counters().LostHeaders.Load())
}

func TestBadFramesEndTheConnection(t *testing.T) {
	for name, f := range map[string][]byte{
		"HEADERS":         frameOf(frame.KindHeaders, 5, 0, []byte{3, 1}),
		"CANCEL":          frameOf(frame.KindCancel, 5, 0, []byte{1, 1, 1, 1, 1, 1}),
		"GOAWAY":          frameOf(frame.KindGoAway, 0, 0, []byte{9}),
		"an empty PIECE":  frameOf(frame.KindPiece, 5, 10<<1, nil),
		"a PIECE past it": frameOf(frame.KindPiece, 5, 1<<1, []byte("ab")),
	} {
		p := extended(t, nil)
		p.write(f)
		var perr *pconn.ProtocolError
		within(t, func() { require.ErrorAs(t, p.conn.Wait(), &perr, name) })
		require.NotEmpty(t, perr.Quote, name)
	}
	p := extended(t, nil)
	p.write(frameOf(frame.KindCancel, 5, 0, make([]byte, 65_537)))
	var limit *pconn.LimitError
	within(t, func() { require.ErrorAs(t, p.conn.Wait(), &limit) })
	require.Equal(t, "CANCEL frame, bytes", limit.What)
}

func TestUnknownFramesArePassedOver(t *testing.T) {
	p := extended(t, serve(mirror))
	p.write(frameOf(99, 5, 1234, []byte("what is this")))
	p.write(request(5, 1, "x"))
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(5, true, "x")
	require.EqualValues(t, 1, p.conn.Counters().UnknownFrames.Load())
}

// Without a HELLO there are no frames. What a peer sends all the same, answers among them, is refused or passed over, and the
// connection goes on and ends as any other.
func TestFramesBeforeHello(t *testing.T) {
	for name, c := range map[string]struct {
		extensions pconn.Extensions
		rejected   bool // our HELLO
	}{
		"lazy":     {pconn.ExtensionsLazy, false},
		"off":      {pconn.ExtensionsOff, false},
		"offered":  {pconn.ExtensionsOffered, false},
		"rejected": {pconn.ExtensionsOffered, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := serve(echo)
			opts.Extensions = c.extensions
			p := raw(t, opts)
			if c.extensions == pconn.ExtensionsOffered {
				hello := p.expectFrame(frame.KindHello)
				if c.rejected {
					p.write(answer(hello.Tag, false, nil))
				}
			}
			for kind := frame.KindHello + 1; kind < frame.KindHello+30; kind++ {
				for _, flags := range []uint64{0, frame.FlagResponse} {
					p.write(frameOf(kind, 500, flags, []byte("xyz")))
					require.Equal(t, packet.Packet{Channel: frame.Channel, Tag: 500, Payload: []byte("unknown channel 127")}, p.read())
				}
			}
			for tag := uint64(501); tag < 504; tag++ {
				p.write(answer(tag, tag%2 == 0, []byte("to no PING")))
			}
			p.write(request(700, 1, "x"))
			p.expectResponse(700, true, "x")
			n := p.conn.Counters()
			require.Zero(t, n.FramesIn.Load())
			require.EqualValues(t, 3, n.Unsolicited.Load())
			p.write(eof)
			p.expectEOF()
			within(t, func() { require.NoError(t, p.conn.Wait()) })
		})
	}
}

func TestDeadlineReachesTheHandler(t *testing.T) {
	type seen struct {
		left time.Duration
		ok   bool
		err  error
	}
	got := make(chan seen, 1)
	mux := pconn.NewMux()
	mux.HandleFunc(1, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		deadline, ok := ctx.Deadline()
		got <- seen{time.Until(deadline), ok, ctx.Err()}
		return pconn.None(), nil
	})
	mux.HandleFunc(2, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		<-derived.Done()
		got <- seen{err: ctx.Err()}
		if derived.Err() != ctx.Err() {
			return pconn.None(), errors.New("two errors")
		}
		return pconn.None(), ctx.Err()
	})
	a, _ := extendedPair(t, nil, &pconn.Options{Handler: mux})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	near := func(s seen) {
		t.Helper()
		require.True(t, s.ok)
		require.InDelta(t, float64(time.Minute), float64(s.left), float64(2*time.Second))
	}
	_, err := a.Do(ctx, pconn.Request{Type: 1})
	require.NoError(t, err)
	near(receiveFrom(t, got))
	_, err = a.Do(ctx, pconn.Request{Type: 1, Timeout: time.Hour}) // the earlier counts
	require.NoError(t, err)
	near(receiveFrom(t, got))
	require.NoError(t, a.Notify(context.Background(), pconn.Request{Type: 1, Timeout: time.Minute}))
	near(receiveFrom(t, got))
	// What Submit waits for has nothing to do with the handler.
	r, err := a.Submit(ctx, pconn.Request{Type: 1})
	require.NoError(t, err)
	require.False(t, receiveFrom(t, got).ok)
	_, err = r.Wait(soon(t))
	require.NoError(t, err)

	r, err = a.Submit(context.Background(), pconn.Request{Type: 2, Timeout: 20 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, context.DeadlineExceeded, receiveFrom(t, got).err)
	_, err = r.Wait(soon(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = a.Do(short, pconn.Request{Type: 2})
	require.ErrorIs(t, err, context.DeadlineExceeded) // the caller's own, or the handler's
	require.Equal(t, context.DeadlineExceeded, receiveFrom(t, got).err)
}

func TestErrorsWithCodeAndDetails(t *testing.T) {
	h := func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.None(), pconn.NewError(404, "no such thing", metadata("thing", "gate")...)
	}
	a, _ := extendedPair(t, nil, serve(h))
	_, err := a.Do(soon(t), pconn.Request{Type: 3})
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	require.EqualValues(t, 404, remote.Code)
	require.Equal(t, "no such thing", remote.Text())
	require.Equal(t, metadata("thing", "gate"), remote.Details)
	require.Equal(t, pconn.ReasonNone, remote.Reason)
	require.Contains(t, err.Error(), "404")

	// A plain peer gets the text.
	p := raw(t, serve(h))
	p.write(request(2, 1, ""))
	p.expectResponse(2, false, "no such thing")
}

func TestRejectionsSayThatNothingWasDone(t *testing.T) {
	a, _ := extendedPair(t, nil, nil)
	_, err := a.Do(soon(t), pconn.Request{})
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, pconn.ReasonRefused, remote.Reason)
}
