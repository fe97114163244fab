package pconn_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// frameOf is the bytes of a frame.
func frameOf(kind frame.Kind, tag, flags uint64, payload []byte) []byte {
	h := frame.Header(kind, tag, flags, len(payload))
	b, err := h.Append(nil)
	if err != nil {
		panic(err)
	}
	return append(b, payload...)
}

// plainHello is the fields of a HELLO that says the least.
func plainHello() []byte {
	h := frame.Hello{Version: 1}
	return h.Append(nil)
}

// answer is the bytes of a response on the reserved channel.
func answer(tag uint64, ok bool, payload []byte) []byte {
	p := packet.Packet{Channel: frame.Channel, Tag: tag, Payload: payload}
	if ok {
		p.Flags = 1
	}
	return encode(p)
}

// expectFrame returns the next packet, which is a frame of a kind.
func (p *rawPeer) expectFrame(kind frame.Kind) packet.Packet {
	p.t.Helper()
	got := p.read()
	require.True(p.t, got.Request, "%+v", got)
	require.EqualValues(p.t, frame.Channel, got.Channel, "%+v", got)
	require.Equal(p.t, kind, frame.Kind(got.Type-1), "%+v", got)
	return got
}

// extended returns a connection with a peer that has said HELLO and taken the answer.
func extended(t testing.TB, opts *pconn.Options) *rawPeer {
	t.Helper()
	p := raw(t, opts)
	p.sayHello(plainHello())
	return p
}

// sayHello sends HELLO with tag 1 and takes the answer.
func (p *rawPeer) sayHello(fields []byte) frame.Hello {
	p.t.Helper()
	p.write(frameOf(frame.KindHello, 1, 0, fields))
	got := p.read()
	require.False(p.t, got.Request, "%+v", got)
	require.EqualValues(p.t, 1, got.Tag)
	require.EqualValues(p.t, 1, got.Flags)
	hello, err := frame.ParseHello(got.Payload)
	require.NoError(p.t, err)
	return hello
}

func TestHelloIsAnswered(t *testing.T) {
	p := raw(t, &pconn.Options{Cookie: []byte("me"), MaxPayload: 12345})
	hello := p.sayHello(plainHello())
	require.EqualValues(t, 1, hello.Version)
	require.Equal(t, "me", string(hello.Cookie))
	require.EqualValues(t, 12345, hello.MaxPayload)
}

func TestHelloIsRefusedWhenOff(t *testing.T) {
	p := raw(t, &pconn.Options{Extensions: pconn.ExtensionsOff, Handler: pconn.HandlerFunc(nil)})
	p.write(frameOf(frame.KindHello, 1, 0, plainHello()))
	got := p.read()
	require.Equal(t, packet.Packet{Channel: frame.Channel, Tag: 1, Payload: []byte("unknown channel 127")}, got)
}

func TestHelloTwiceEndsTheConnection(t *testing.T) {
	p := extended(t, nil)
	p.write(frameOf(frame.KindHello, 2, 0, plainHello()))
	var perr *pconn.ProtocolError
	within(t, func() { require.ErrorAs(t, p.conn.Wait(), &perr) })
	require.Contains(t, perr.Reason, "second HELLO")
}

func TestHelloIsOfferedAtTheStart(t *testing.T) {
	p := raw(t, &pconn.Options{Extensions: pconn.ExtensionsOffered})
	hello := p.expectFrame(frame.KindHello)
	// Plain requests do not wait for its answer, nor does Shutdown.
	out := do(soon(t), p.conn, pconn.Request{Type: 1})
	tag := p.expectRequest(1, "")
	require.NotEqual(t, hello.Tag, tag)
	p.write(response(tag, "yes"))
	require.NoError(t, receiveFrom(t, out).err)
	go p.conn.Shutdown(context.Background())
	p.expectEOF()
	p.write(eof)
	within(t, func() { require.NoError(t, p.conn.Wait()) })
}

func TestRejectedHelloIsNoError(t *testing.T) {
	p := raw(t, &pconn.Options{Extensions: pconn.ExtensionsOffered})
	hello := p.expectFrame(frame.KindHello)
	p.write(answer(hello.Tag, false, []byte("unknown channel %d")))
	out := do(soon(t), p.conn, pconn.Request{Type: 1})
	p.write(response(p.expectRequest(1, ""), "yes"))
	require.NoError(t, receiveFrom(t, out).err)
}

func TestRequiredExtensions(t *testing.T) {
	p := raw(t, &pconn.Options{Extensions: pconn.ExtensionsRequired})
	out := do(soon(t), p.conn, pconn.Request{Type: 1})
	hello := p.expectFrame(frame.KindHello)
	p.write(answer(hello.Tag, false, []byte("unknown channel %d")))
	require.ErrorIs(t, receiveFrom(t, out).err, pconn.ErrNoExtensions)
	p.expectEOF() // the request was not sent meanwhile
	within(t, func() { require.ErrorIs(t, p.conn.Wait(), pconn.ErrNoExtensions) })
}

func TestCookieIsVerified(t *testing.T) {
	want := errors.New("who are you")
	opts := func() *pconn.Options {
		return &pconn.Options{Extensions: pconn.ExtensionsRequired, VerifyCookie: func(cookie []byte) error {
			if string(cookie) != "secret" {
				return want
			}
			return nil
		}, Handler: pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text("hi"), nil })}
	}
	a, b, err := pconn.Pipe(&pconn.Options{Cookie: []byte("secret")}, opts())
	require.NoError(t, err)
	defer a.Close()
	defer b.Close()
	eventually(t, "the cookie is known", func() bool {
		_, err := a.Do(soon(t), pconn.Request{})
		return err == nil
	})

	p := raw(t, opts())
	p.expectFrame(frame.KindHello)
	p.write(request(2, 1, ""))
	p.expectResponse(2, false, "rejecting request: no HELLO before it")
	p.write(frameOf(frame.KindHello, 1, 0, plainHello()))
	got := p.read()
	require.False(t, got.Request)
	require.Equal(t, "hello refused", string(got.Payload))
	within(t, func() {
		err := p.conn.Wait()
		require.ErrorIs(t, err, pconn.ErrCookie)
		require.ErrorIs(t, err, want)
	})
}

// The peer has closed its input before HELLO is written, and ends in good order: nothing was asked of it.
func TestHelloThatNobodyReads(t *testing.T) {
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, fromR.Close())
	conn, err := pconn.New(bufio.OwnInput(toR), bufio.OwnOutput(fromW), &pconn.Options{Extensions: pconn.ExtensionsOffered})
	require.NoError(t, err)
	_, err = conn.Do(soon(t), pconn.Request{})
	require.ErrorIs(t, err, pconn.ErrPeerGone)
	require.NoError(t, toW.Close())
	within(t, func() { require.NoError(t, conn.Wait()) })
	require.ErrorIs(t, conn.Err(), pconn.ErrPeerClosed)
}

// What needs the extensions does not wait for the answer to a HELLO that could not be written, though the connection
// goes on.
func TestExtensionsWithoutAWayToThePeer(t *testing.T) {
	for name, use := range map[string]func(*pconn.Conn) error{
		"stream": func(c *pconn.Conn) error {
			_, err := c.OpenStream(context.Background(), "", nil)
			return err
		},
		"ping": func(c *pconn.Conn) error {
			_, err := c.Ping(context.Background())
			return err
		},
		"metadata": func(c *pconn.Conn) error {
			return c.Notify(context.Background(), pconn.Request{Metadata: metadata("k", "v")})
		},
		"going away": func(c *pconn.Conn) error { return c.GoAway(context.Background(), 0, "") },
	} {
		t.Run(name, func(t *testing.T) {
			p := raw(t, serve(echo))
			require.NoError(t, p.in.Close())
			for range 2 {
				within(t, func() { require.ErrorIs(t, use(p.conn), pconn.ErrPeerGone) })
			}
			// A HELLO of the peer's changes nothing, since it cannot be answered.
			p.write(frameOf(frame.KindHello, 1, 0, plainHello()))
			p.write(frameOf(frame.KindPing, 2, 0, nil))
			eventually(t, "both have come", func() bool { return p.conn.Counters().PacketsIn.Load() == 2 })
			require.Zero(t, p.conn.Counters().FramesIn.Load())
			within(t, func() { require.ErrorIs(t, use(p.conn), pconn.ErrPeerGone) })
			p.write(eof)
			within(t, func() { require.NoError(t, p.conn.Wait()) })
		})
	}
}
