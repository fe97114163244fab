package prpc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
	final      = 0x80
	rsv1       = 0x40
)

var testKey = [4]byte{0x12, 0xf0, 0x00, 0x99}

// frame builds a frame by hand, masked if there is a key.
func frame(first byte, payload []byte, key *[4]byte) []byte {
	length := []byte{byte(len(payload))}
	switch n := len(payload); {
	case n > 65535:
		length = binary.BigEndian.AppendUint64([]byte{127}, uint64(n))
	case n > 125:
		length = binary.BigEndian.AppendUint16([]byte{126}, uint16(n))
	}
	if key == nil {
		return append(append([]byte{first}, length...), payload...)
	}
	length[0] |= 0x80
	b := append(append([]byte{first}, length...), key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// fromClient builds a frame as a client sends it.
func fromClient(first byte, payload string) []byte { return frame(first, []byte(payload), &testKey) }

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// clientFrames are what clients may send, well and badly, each behind a handshake.
var clientFrames = map[string][]byte{
	"nothing":                   nil,
	"messages":                  concat(fromClient(final|opBinary, "one"), fromClient(final|opBinary, ""), fromClient(final|opBinary, "three")),
	"lengths of 16 and 64 bits": concat(fromClient(final|opBinary, string(make([]byte, 126))), fromClient(final|opBinary, string(make([]byte, 1000)))),
	"pieces":                    concat(fromClient(opBinary, "a"), fromClient(opContinue, "b"), fromClient(opContinue, ""), fromClient(final|opContinue, "c"), fromClient(final|opBinary, "d")),
	"empty pieces":              concat(fromClient(opBinary, ""), fromClient(final|opContinue, ""), fromClient(final|opBinary, "d")),
	"control between pieces":    concat(fromClient(opBinary, "a"), fromClient(final|opPing, "1"), fromClient(final|opContinue, "b"), fromClient(final|opPong, ""), fromClient(final|opBinary, "c"), fromClient(final|opPing, "2"), fromClient(final|opPing, ""), fromClient(final|opBinary, "d")),
	"a message between pieces":  concat(fromClient(opBinary, "a"), fromClient(final|opBinary, "b"), fromClient(final|opContinue, "c")),
	"a piece of nothing":        concat(fromClient(final|opBinary, "a"), fromClient(final|opContinue, "b")),
	"text":                      concat(fromClient(final|opBinary, "a"), fromClient(final|opText, "b"), fromClient(final|opBinary, "c")),
	"not masked":                concat(fromClient(final|opBinary, "a"), frame(final|opBinary, []byte("b"), nil)),
	"close":                     concat(fromClient(final|opBinary, "a"), fromClient(final|opClose, "\x03\xe8bye"), fromClient(final|opBinary, "b")),
	"close without code":        fromClient(final|opClose, ""),
	"close with half a code":    fromClient(final|opClose, "\x03"),
	"close with a bad code":     fromClient(final|opClose, "\x03\xed"),
	"long ping":                 fromClient(final|opPing, string(make([]byte, 126))),
	"ping in pieces":            fromClient(opPing, "a"),
	"reserved opcode":           fromClient(final|0x3, "a"),
	"reserved bit":              fromClient(final|rsv1>>1|opBinary, "a"),
	"compressed":                concat(fromClient(final|rsv1|opBinary, "\xca\xcf\x4b\x05\x00"), fromClient(final|opBinary, "b"), fromClient(final|rsv1|opBinary, "\xca\xcf\x4b\x05\x00")),
	"largest":                   concat(fromClient(final|opBinary, string(make([]byte, 1000))), fromClient(final|opBinary, "b")),
	"too large":                 concat(fromClient(final|opBinary, "a"), fromClient(final|opBinary, string(make([]byte, 1001)))),
	"too large in pieces":       concat(fromClient(opBinary, string(make([]byte, 600))), fromClient(final|opContinue, string(make([]byte, 600)))),
	"length of 2^63":            {final | opBinary, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5},
	"length of 2^64-1":          {final | opBinary, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5},
	"length of 2^63-1":          {final | opPing, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5},
	"cut header":                {final | opBinary, 0xfe, 0},
	"cut compressed message":    fromClient(rsv1|opBinary, "\xca"),
	"cut message":               fromClient(final|opBinary, "abc")[:7],
}

// TestFrames: whatever a client sends, our carrier gives and answers what the WebSocket library does.
func TestFrames(t *testing.T) {
	for name, in := range clientFrames {
		t.Run(name, func(t *testing.T) { compareFrames(t, in) })
	}
	messages, _, _ := overCarrier(t, clientFrames["control between pieces"], 1, true)
	assert.Equal(t, []string{"ab", "c", "d"}, messages)
	messages, written, err := overCarrier(t, clientFrames["close"], 1, false)
	assert.Equal(t, []string{"a"}, messages)
	assert.Equal(t, frame(final|opClose, []byte("\x03\xe8bye"), nil), written)
	assert.Equal(t, &prpc.CloseError{Code: 1000, Reason: "bye"}, err)
	_, written, err = overCarrier(t, clientFrames["too large"], 1, false)
	require.ErrorIs(t, err, prpc.ErrTooLarge)
	assert.Equal(t, []byte{final | opClose}, written[:1])
	assert.Equal(t, []byte{0x03, 0xf1}, written[2:4], "1009")
	messages, _, _ = overCarrier(t, clientFrames["compressed"], 0, true)
	assert.Len(t, messages, 3)
}

func FuzzFrames(f *testing.F) {
	for _, in := range clientFrames {
		f.Add(in)
	}
	f.Fuzz(compareFrames)
}

// compareFrames compares our carrier with the library, however the bytes come in.
func compareFrames(t *testing.T, in []byte) {
	for _, deflate := range []bool{false, true} {
		messages, written, err := overLibrary(t, in, deflate)
		for _, ahead := range []int{0, 1, len(in)} {
			ourMessages, ourWritten, ourErr := overCarrier(t, in, ahead, deflate)
			assert.Equal(t, messages, ourMessages)
			assert.Equal(t, written, ourWritten)
			var closed *prpc.CloseError
			assert.Equal(t, int(websocket.CloseStatus(err)), codeOf(ourErr), "%v and %v", err, ourErr)
			assert.Equal(t, errors.Is(err, websocket.ErrMessageTooBig), errors.Is(ourErr, prpc.ErrTooLarge), "%v and %v", err, ourErr)
			if !errors.As(ourErr, &closed) {
				require.Error(t, ourErr)
			}
		}
	}
}

func codeOf(err error) int {
	var closed *prpc.CloseError
	if errors.As(err, &closed) {
		return int(closed.Code)
	}
	return -1
}

const frameLimit = 1000

var errText = errors.New("text")

// overLibrary returns the messages that the library alone reads, what it writes, and why it ends.
func overLibrary(t *testing.T, in []byte, deflate bool) (messages []string, written []byte, err error) {
	w := &upgradable{in: cutOff{bytes.NewReader(in)}}
	ws, err := websocket.Accept(w, upgradeRequest(deflate), &websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover})
	require.NoError(t, err)
	ws.SetReadLimit(frameLimit)
	for {
		kind, r, readErr := ws.Reader(context.Background())
		var message []byte
		switch err = readErr; {
		case err == nil && kind == websocket.MessageText:
			err = errText
		case err == nil:
			message, err = io.ReadAll(r)
		}
		if err != nil {
			_ = ws.CloseNow()
			return messages, w.out.Bytes(), err
		}
		messages = append(messages, string(message))
	}
}

// cutOff is a reader whose end is an error, since the library takes an end of the stream for that of a compressed
// message.
type cutOff struct{ io.Reader }

func (c cutOff) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// overCarrier is overLibrary for our carrier, with some of the bytes read ahead with the request, and the others
// coming one by one if none is.
func overCarrier(t *testing.T, in []byte, ahead int, deflate bool) (messages []string, written []byte, err error) {
	ahead = min(ahead, len(in))
	w := &upgradable{ahead: in[:ahead], in: bytes.NewReader(in[ahead:])}
	if ahead == 0 {
		w.in = iotest.OneByteReader(w.in)
	}
	c, err := prpc.AcceptWebSocket(w, upgradeRequest(deflate), frameLimit)
	require.NoError(t, err)
	for {
		var message []byte
		if message, err = c.Receive(); err != nil {
			written = bytes.Clone(w.out.Bytes())
			_ = c.Close(prpc.CloseProtocol)
			return messages, written, err
		}
		messages = append(messages, string(message))
	}
}

func upgradeRequest(deflate bool) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(name, value)
	}
	if deflate {
		r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
	}
	return r
}

// upgradable answers an upgrade request with a connection that gives in and keeps what is written.
type upgradable struct {
	net.Conn // the other methods are not called
	ahead    []byte
	in       io.Reader
	out      bytes.Buffer
}

func (u *upgradable) Header() http.Header         { return http.Header{} }
func (u *upgradable) WriteHeader(int)             {}
func (u *upgradable) Read(p []byte) (int, error)  { return u.in.Read(p) }
func (u *upgradable) Write(p []byte) (int, error) { return u.out.Write(p) }
func (u *upgradable) Close() error                { return nil }

func (u *upgradable) SetReadDeadline(time.Time) error  { return nil }
func (u *upgradable) SetWriteDeadline(time.Time) error { return nil }

func (u *upgradable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	rest := u.in
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(u.ahead), rest), max(16, len(u.ahead)))
	if _, err := in.Peek(len(u.ahead)); err != nil {
		return nil, nil, fmt.Errorf("reading ahead: %w", err)
	}
	return u, bufio.NewReadWriter(in, bufio.NewWriter(u)), nil
}

// What our client sends is masked, each message with another key; what our server sends is not. Either reads what the
// library writes, and is read by it.
func TestFramesBothWays(t *testing.T) {
	sizes := []int{0, 1, 7, 8, 125, 126, 127, 4096, 65535, 65536, 300_000}
	echo := func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ws.SetReadLimit(1 << 20)
		for {
			kind, message, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			// Some in pieces.
			out, err := ws.Writer(context.Background(), kind)
			if err == nil && len(message)%2 == 1 {
				_, err = out.Write(message[:len(message)/2])
				message = message[len(message)/2:]
			}
			if err == nil {
				_, err = out.Write(message)
			}
			if err == nil {
				err = out.Close()
			}
			if err != nil {
				return
			}
		}
	}
	t.Run("client", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(echo))
		defer server.Close()
		c, err := prpc.DialWebSocket(t.Context(), wsURL(server), 1<<20)
		require.NoError(t, err)
		for _, size := range sizes {
			message := bytes.Repeat([]byte{0xa5}, size)
			require.NoError(t, c.Send([][]byte{message, message}))
			for range 2 {
				got, err := c.Receive()
				require.NoError(t, err)
				assert.True(t, bytes.Equal(message, got), "%d bytes", size)
			}
		}
		_ = c.Close(prpc.CloseNormal)
	})
	t.Run("server", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := prpc.AcceptWebSocket(w, r, 1<<20)
			for err == nil {
				var message []byte
				if message, err = c.Receive(); err == nil {
					err = c.Send([][]byte{message, message})
				}
			}
			_ = c.Close(prpc.CloseNormal)
		}))
		defer server.Close()
		ws, _, err := websocket.Dial(t.Context(), wsURL(server), nil)
		require.NoError(t, err)
		ws.SetReadLimit(1 << 20)
		for _, size := range sizes {
			message := bytes.Repeat([]byte{0xa5}, size)
			require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, message))
			for range 2 {
				_, got, err := ws.Read(t.Context())
				require.NoError(t, err)
				assert.True(t, bytes.Equal(message, got), "%d bytes", size)
			}
		}
		require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	})
}

// handmadeServer answers one upgrade by hand, with frames right behind it, and gives the connection to serve.
func handmadeServer(t *testing.T, behind []byte, serve func(net.Conn, *bufio.Reader)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			acceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n\r\n"
		if _, err := conn.Write(append([]byte(answer), behind...)); err == nil {
			serve(conn, in)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return fmt.Sprintf("ws://%s/", listener.Addr())
}

// A client reads what comes with the answer to its upgrade, and masks every frame with a key of its own.
func TestClientFrames(t *testing.T) {
	const count = 200 // more than there are random bytes for at a time
	keys := make(chan [4]byte, count)
	url := handmadeServer(t, concat(frame(final|opBinary, []byte("early"), nil), frame(opBinary, []byte("ti"), nil),
		frame(final|opPing, []byte("p"), nil), frame(final|opContinue, []byte("mes"), nil)),
		func(conn net.Conn, in *bufio.Reader) {
			defer close(keys)
			var pong [7]byte
			if _, err := io.ReadFull(in, pong[:]); err != nil || pong[0] != final|opPong || pong[1] != 0x81 || pong[6]^pong[2] != 'p' {
				return
			}
			for n := range count {
				var f [9]byte
				if _, err := io.ReadFull(in, f[:]); err != nil || f[0] != final|opBinary || f[1] != 0x83 {
					return
				}
				key := [4]byte(f[2:6])
				for i, want := range []byte{byte(n), 1, 2} {
					if f[6+i]^key[i] != want {
						return
					}
				}
				keys <- key
			}
			_, _ = conn.Write(frame(final|opClose, []byte("\x03\xf1enough"), nil))
		})
	c, err := prpc.DialWebSocket(t.Context(), url, 1000)
	require.NoError(t, err)
	for _, want := range []string{"early", "times"} {
		got, err := c.Receive()
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	for n := range count {
		require.NoError(t, c.Send([][]byte{{byte(n), 1, 2}}))
	}
	different := map[[4]byte]bool{}
	for key := range keys {
		different[key] = true
	}
	assert.Greater(t, len(different), count-2)
	_, err = c.Receive()
	assert.Equal(t, &prpc.CloseError{Code: 1009, Reason: "enough"}, err)
	_ = c.Close(prpc.CloseNormal)
}

// A client takes no masked frame from a server, be it a message or a control frame.
func TestMaskedFramesOfAServer(t *testing.T) {
	for name, masked := range map[string][]byte{
		"message": fromClient(final|opBinary, "a"),
		"piece":   fromClient(opBinary, "a"),
		"ping":    fromClient(final|opPing, "a"),
		"close":   fromClient(final|opClose, "\x03\xe8"),
	} {
		t.Run(name, func(t *testing.T) {
			url := handmadeServer(t, concat(frame(final|opBinary, []byte("good"), nil), masked),
				func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
			c, err := prpc.DialWebSocket(t.Context(), url, 1000)
			require.NoError(t, err)
			got, err := c.Receive()
			require.NoError(t, err)
			assert.Equal(t, "good", string(got))
			_, err = c.Receive()
			var violation *prpc.ProtocolError
			require.ErrorAs(t, err, &violation)
			assert.Equal(t, prpc.BadFrame, violation.Violation)
			assert.ErrorContains(t, err, "forbidden WebSocket frame: it is a server's and masked")
			_ = c.Close(prpc.CloseProtocol)
		})
	}
}

// A peer that pings and reads nothing ends the connection, rather than filling our memory with
// pongs behind a write that it does not take.
func TestPingFlood(t *testing.T) {
	server, handler := wsServer(t, prpc.Tree{"large": func() []byte { return make([]byte, 3<<20) }}, prpc.Options{})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, upgradeRequest(false).Write(conn))
	frames := fromClient(final|opBinary, string(wire(t, helloServer...)))
	for n := range 8 {
		frames = append(frames, fromClient(final|opBinary, string(wire(t, 2, n, 20, "large", nil, nil)))...)
	}
	_, err = conn.Write(frames)
	require.NoError(t, err)
	flood := bytes.Repeat(fromClient(final|opPing, string(make([]byte, 125))), 1000)
	sent := 0
	for err == nil {
		require.Less(t, sent, 1<<30, "1 GiB of pings was taken")
		n := 0
		n, err = conn.Write(flood)
		sent += n
	}
	require.NoError(t, handler.Close())
}
