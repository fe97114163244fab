package prpc_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// l is a list of values.
type l = []any

// wire encodes a message.
func wire(t testing.TB, fields ...any) []byte {
	t.Helper()
	b, err := prpc.Encode(fields)
	require.NoError(t, err)
	return b
}

// bad is what a test sends that is no message.
type bad []byte

// send sends messages: a list of fields, bytes as they are, or an error that the
// carrier reports.
func send(t testing.TB, p *pipe, messages ...any) {
	t.Helper()
	for _, m := range messages {
		switch m := m.(type) {
		case l:
			require.NoError(t, p.Send([][]byte{wire(t, m...)}))
		case bad:
			require.NoError(t, p.Send([][]byte{m}))
		case error:
			synctest.Wait()
			p.peer.err <- m
		}
	}
}

var helloServer = l{1, 1, l{1, nil, nil}}

// rawServer returns our server behind a pipe, with the handshake done.
func rawServer(t *testing.T, o *prpc.Options) (*pipe, *prpc.Conn) {
	t.Helper()
	ours, theirs := newPipe()
	send(t, theirs, helloServer)
	c, err := prpc.Accept(context.Background(), ours, o)
	require.NoError(t, err)
	_, err = theirs.Receive()
	require.NoError(t, err)
	return theirs, c
}

// rawClient returns our client behind a pipe, with the handshake done.
func rawClient(t *testing.T, o *prpc.Options) (*pipe, *prpc.Conn) {
	t.Helper()
	ours, theirs := newPipe()
	send(t, theirs, l{6, 1, l{1, "id", nil}, 0, nil})
	c, err := prpc.Connect(context.Background(), ours, o)
	require.NoError(t, err)
	_, err = theirs.Receive()
	require.NoError(t, err)
	return theirs, c
}

func testServices(t testing.TB) prpc.Locator {
	t.Helper()
	methods, err := prpctest.Services()
	require.NoError(t, err)
	return methods
}

// closedWith returns the code our end closed with, skipping what it sent before.
func closedWith(t *testing.T, p *pipe) prpc.CloseCode {
	t.Helper()
	for {
		_, err := p.Receive()
		var closed *prpc.CloseError
		if err == nil {
			continue
		}
		require.ErrorAs(t, err, &closed)
		return closed.Code
	}
}

var sleeping = l{2, 1, 20, "util.sleep", l{60}, map[string]any{}}

// What ends a connection at the callee: close code 1002, a typed error, methods cancelled.
func TestKillsTheCallee(t *testing.T) {
	deep := bytes.Repeat([]byte{0x91}, 600)
	for _, row := range []struct {
		name      string
		messages  []any
		violation prpc.Violation
	}{
		{"text frame", l{prpc.ErrTextMessage}, prpc.TextMessage},
		{"bad msgpack: reserved byte", l{bad{0xc1}}, prpc.Malformed},
		{"bad msgpack: text that is not UTF-8", l{bad{0x93, 4, 1, 0xa1, 0xff}}, prpc.Malformed},
		{"empty message", l{bad{}}, prpc.Malformed},
		{"truncated message", l{bad{0x92, 3}}, prpc.Malformed},
		{"over-long message", l{bad{0x92, 3, 1, 1}}, prpc.Malformed},
		{"message that is a map", l{bad{0x80}}, prpc.NotArray},
		{"message that is a number", l{bad{1}}, prpc.NotArray},
		{"empty array", l{l{}}, prpc.NotArray},
		{"unknown type", l{l{10, 1}}, prpc.UnknownType},
		{"type 0", l{l{0, 1}}, prpc.UnknownType},
		{"type that is text", l{l{"x", 1}}, prpc.UnknownType},
		{"field too few", l{l{3}}, prpc.BadArity},
		{"field too many", l{l{3, 1, 1}}, prpc.BadArity},
		{"call start with a field too few", l{l{2, 1, 20, "ping", l{}}}, prpc.BadArity},
		{"call type 10", l{l{2, 2, 10, "ping", l{}, nil}}, prpc.BadCallType},
		{"unknown call type", l{l{2, 2, 99, "ping", l{}, nil}}, prpc.BadCallType},
		{"call type that is text", l{l{2, 2, "20", "ping", l{}, nil}}, prpc.BadCallType},
		{"id that cannot be a key", l{l{3, l{1}}}, prpc.BadID},
		{"id that is a map", l{l{2, prpc.Map{}, 20, "ping", l{}, nil}}, prpc.BadID},
		{"id that is endless", l{l{3, string(make([]byte, 2000))}}, prpc.BadID},
		{"live id reused", l{sleeping, sleeping}, prpc.IDInUse},
		{"4 on a unary call", l{sleeping, l{4, 1, "x"}}, prpc.NoSuchPath},
		{"5 on a unary call", l{sleeping, l{5, 1}}, prpc.NoSuchPath},
		{"4 on an istream", l{l{2, 1, 30, "util.sleep", l{60}, nil}, l{4, 1, "x"}}, prpc.NoSuchPath},
		{"second handshake of another arity", l{l{1, 1, l{1, nil}}}, prpc.BadArity},
		{"nested too deeply", l{bad(append(deep, 0xc0))}, prpc.TooDeep},
		{"map key that is a list", l{bad{0x93, 4, 1, 0x81, 0x90, 1}}, prpc.Malformed},
		{"length beyond the message", l{bad{0xdd, 0xff, 0xff, 0xff, 0xff, 1}}, prpc.Malformed},
		{"map length beyond the message", l{bad{0xdf, 0xff, 0xff, 0xff, 0xff, 1}}, prpc.Malformed},
		{"binary length beyond the message", l{bad{0x93, 4, 1, 0xc6, 0xff, 0xff, 0xff, 0xff}}, prpc.Malformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			methods := testServices(t)
			synctest.Test(t, func(t *testing.T) {
				p, c := rawServer(t, &prpc.Options{Methods: methods})
				send(t, p, row.messages...)
				assert.Equal(t, prpc.CloseProtocol, closedWith(t, p))
				c.Wait()
				wantViolation(t, c.Err(), row.violation)
			})
		})
	}
}

func wantViolation(t *testing.T, err error, v prpc.Violation) {
	t.Helper()
	require.ErrorIs(t, err, prpc.ErrClosed)
	var pe *prpc.ProtocolError
	require.ErrorAs(t, err, &pe)
	assert.Equal(t, v.String(), pe.Violation.String())
	assert.Contains(t, err.Error(), v.String())
}

// What ends a connection at the caller, with a call of each type pending: they fail with the
// same error.
func TestKillsTheCaller(t *testing.T) {
	for _, row := range []struct {
		name      string
		message   any
		violation prpc.Violation
	}{
		{"success with a nil result", l{7, 2, nil, 0, nil}, prpc.BadResult},
		{"success with a text result", l{7, 2, "x", 0, nil}, prpc.BadResult},
		{"success with an int result", l{7, 2, 1, 0, nil}, prpc.BadResult},
		{"packed result that is malformed", l{7, 2, []byte{0xc1}, 0, nil}, prpc.Malformed},
		{"packed result that is empty", l{7, 2, []byte{}, 0, nil}, prpc.Malformed},
		{"error of three", l{7, 2, nil, 10, l{"m", "t", "c"}}, prpc.BadArity},
		{"error of five", l{7, 2, nil, 10, l{"m", "t", "c", nil, nil}}, prpc.BadArity},
		{"error that is text", l{7, 2, nil, 10, "m"}, prpc.BadArity},
		{"8 for a unary call", l{8, 2, "x"}, prpc.NoSuchPath},
		{"9 for a unary call", l{9, 2}, prpc.NoSuchPath},
		{"8 for an ostream", l{8, 3, "x"}, prpc.NoSuchPath},
		{"text frame", prpc.ErrTextMessage, prpc.TextMessage},
		{"too large", fmt.Errorf("%w: by a byte", prpc.ErrTooLarge), prpc.TooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := rawClient(t, nil)
				unary, err := c.Start(t.Context(), prpc.Unary, "m")
				require.NoError(t, err)
				out, err := c.Start(t.Context(), prpc.OStream, "m")
				require.NoError(t, err)
				send(t, p, row.message)
				_, err = unary.Result(t.Context())
				wantViolation(t, err, row.violation)
				_, again := out.Result(t.Context())
				assert.Same(t, err, again)
				code := prpc.CloseProtocol
				if row.violation == prpc.TooLarge {
					code = prpc.CloseTooLarge
				}
				assert.Equal(t, code, closedWith(t, p))
				c.Wait()
				wantViolation(t, c.Err(), row.violation)
			})
		})
	}
}

// What ends a handshake.
func TestKillsTheHandshake(t *testing.T) {
	for _, row := range []struct {
		name      string
		server    bool
		message   any
		violation prpc.Violation
	}{
		{"version 2", true, l{1, 1, l{2, nil, nil}}, prpc.BadVersion},
		{"version that is text", true, l{1, 1, l{"1", nil, nil}}, prpc.BadVersion},
		{"handshake of two", true, l{1, 1, l{1, nil}}, prpc.BadArity},
		{"handshake that is text", true, l{1, 1, "abc"}, prpc.BadArity},
		{"text frame", true, prpc.ErrTextMessage, prpc.TextMessage},
		{"answer with an unknown id", false, l{6, 9, l{1, "id", nil}, 0, nil}, prpc.BadHandshake},
		{"answer that is nil", false, l{6, 1, nil, 10, l{"no", "", "", nil}}, prpc.BadArity},
		{"malformed", false, bad{0xc1}, prpc.Malformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := newPipe()
				send(t, theirs, row.message)
				var err error
				if row.server {
					_, err = prpc.Accept(t.Context(), ours, nil)
				} else {
					_, err = prpc.Connect(t.Context(), ours, nil)
				}
				wantViolation(t, err, row.violation)
				assert.Equal(t, prpc.CloseProtocol, closedWith(t, theirs))
			})
		})
	}
}

// A flood of calls beyond the limit is answered, and one of messages nobody reads
// ends the connection.
func TestCallLimit(t *testing.T) {
	methods := testServices(t)
	synctest.Test(t, func(t *testing.T) {
		p, c := rawServer(t, &prpc.Options{Methods: methods, Limits: prpc.Limits{Calls: 1}})
		send(t, p, sleeping, l{2, 2, 20, "ping", nil, nil})
		status, _ := receiveAnswer(t, p, 2)
		assert.EqualValues(t, 30, status)
		assert.Equal(t, 1, c.Active())
		require.NoError(t, c.Close())
		c.Wait()
	})
}

func TestControlOverflowEndsTheConnection(t *testing.T) {
	methods := testServices(t)
	synctest.Test(t, func(t *testing.T) {
		p, c := rawServer(t, &prpc.Options{Methods: methods, Limits: prpc.Limits{Calls: 1, SendBytes: 100}})
		send(t, p, sleeping)
		for n := 2; c.Err() == nil && n < 10_000; n++ {
			_ = p.Send([][]byte{wire(t, 2, n, 20, "ping", nil, nil)})
			if n%32 == 0 {
				synctest.Wait()
			}
		}
		c.Wait()
		require.ErrorIs(t, c.Err(), prpc.ErrSendOverflow)
	})
}

// A call that asks for more than the limits fails alone.
func TestOwnMessagesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		methods, err := prpc.NewTree(prpc.Tree{"large": func() []byte { return make([]byte, 2000) }})
		require.NoError(t, err)
		c, s := connect(t, &prpc.Options{Limits: prpc.Limits{MessageBytes: 1000}},
			&prpc.Options{Methods: methods, Limits: prpc.Limits{MessageBytes: 1000}})
		_, err = c.Call(t.Context(), "large", make([]byte, 1000))
		require.ErrorIs(t, err, prpc.ErrTooLarge)
		_, err = c.Call(t.Context(), "large")
		remote := remoteErr(t, err, prpc.StatusMethodError)
		assert.Equal(t, "method return value cannot be serialized", remote.Message)
		assert.Nil(t, s.Err())
		assert.Zero(t, c.Active())
	})
}

func TestLimitsOutOfRange(t *testing.T) {
	for _, limits := range []prpc.Limits{{MessageBytes: -1}, {Depth: 20_000}, {Calls: 1 << 30}} {
		a, _ := newPipe()
		_, err := prpc.Connect(t.Context(), a, &prpc.Options{Limits: limits})
		require.ErrorContains(t, err, "prpc: Limits.")
		b, _ := newPipe()
		_, err = prpc.Accept(t.Context(), b, &prpc.Options{Limits: limits})
		require.ErrorContains(t, err, "not between 1 and")
		_, err = prpc.Dial(t.Context(), "ws://localhost:1", &prpc.Options{Limits: limits})
		require.Error(t, err)
	}
}

func TestElementLimit(t *testing.T) {
	err := prpc.Parse(wire(t, 4, 1, make([]any, 100)), prpc.Limits{Elements: 50})
	var pe *prpc.ProtocolError
	require.ErrorAs(t, err, &pe)
	assert.Equal(t, prpc.TooMany, pe.Violation)
	require.NoError(t, prpc.Parse(wire(t, 4, 1, make([]any, 100)), prpc.Limits{Elements: 104}))
	require.Error(t, prpc.Parse(wire(t, 4, 1, l{l{1, 1}, l{1, 1}}), prpc.Limits{Elements: 8}))
}
