package pconn_test

import (
	"bytes"
	"context"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// ending is how the wait of a caller that receives ends, and what is to become of its call.
type ending struct {
	end   func(t *testing.T, p *rawPeer, cancel func())
	check func(t *testing.T, p *rawPeer, err error)
}

// endsTheWaitOfACallerThatReceives has each of cases happen to another caller.
func endsTheWaitOfACallerThatReceives(t *testing.T, cases map[string]ending) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			ctx, cancel := context.WithCancel(soon(t))
			_, held := loneCaller(ctx, t, p)
			c.end(t, p, cancel)
			c.check(t, p, receiveFrom(t, held).err)
			cancel()
		})
	}
}

// endsWith checks that a call has ended with an error, or none.
func endsWith(want error) func(t *testing.T, _ *rawPeer, err error) {
	return func(t *testing.T, _ *rawPeer, err error) {
		t.Helper()
		require.Equal(t, want, err)
	}
}

// TestTheContextOfACallerThatReceivesEnds checks that the connection goes on without it.
func TestTheContextOfACallerThatReceivesEnds(t *testing.T) {
	endsTheWaitOfACallerThatReceives(t, map[string]ending{
		"while it receives": {
			func(_ *testing.T, _ *rawPeer, cancel func()) { cancel() },
			func(t *testing.T, p *rawPeer, err error) {
				require.Equal(t, context.Canceled, err)
				require.Empty(t, p.conn.InFlight())
				p.nothingMore(501)
				res := do(soon(t), p.conn, pconn.Request{Type: 1})
				p.write(response(p.expectRequest(1, ""), "next"))
				require.NoError(t, receiveFrom(t, res).err)
			},
		},
		"while somebody else receives": {
			func(_ *testing.T, p *rawPeer, cancel func()) {
				p.nothingMore(500)
				cancel()
			},
			func(t *testing.T, p *rawPeer, err error) {
				require.Equal(t, context.Canceled, err)
				p.nothingMore(501)
			},
		},
	})
}

// TestTheConnectionOfACallerThatReceivesEnds ends it from either end, in good order or not.
func TestTheConnectionOfACallerThatReceivesEnds(t *testing.T) {
	endsTheWaitOfACallerThatReceives(t, map[string]ending{
		"by Close":                 {func(_ *testing.T, p *rawPeer, _ func()) { p.conn.Close() }, endsWith(pconn.ErrClosed)},
		"by the peer's EOF":        {func(_ *testing.T, p *rawPeer, _ func()) { p.write(eof) }, endsWith(pconn.ErrPeerClosed)},
		"by the end of the stream": {func(_ *testing.T, p *rawPeer, _ func()) { p.out.Close() }, endsWith(pconn.ErrPeerClosed)},
		"by what is no packet": {
			func(_ *testing.T, p *rawPeer, _ func()) { p.write(bytes.Repeat([]byte{0}, 20)) },
			func(t *testing.T, _ *rawPeer, err error) {
				var wrong *pconn.ProtocolError
				require.ErrorAs(t, err, &wrong)
				require.ErrorIs(t, err, packet.ErrFields)
			},
		},
	})
}

// drains shuts a connection down that has a call, and returns when it drains. The channel has what Shutdown returns.
func drains(t *testing.T, p *rawPeer) <-chan error {
	t.Helper()
	over := make(chan error, 1)
	go func() { over <- p.conn.Shutdown(soon(t)) }()
	// A call made before it drains would be sent. Shutdown waits behind that, and nowhere else.
	waits := regexp.MustCompile(`\[select[^\n]*\]:\n[^\n]*pconn\.\(\*Conn\)\.Shutdown\(`)
	eventually(t, "Shutdown waits", func() bool { return waits.MatchString(stacks()) })
	_, err := p.conn.Do(soon(t), pconn.Request{})
	require.Equal(t, pconn.ErrDraining, err)
	return over
}

// TestACallerReceivesWhileItsConnectionDrains checks that the connection ends when the call has.
func TestACallerReceivesWhileItsConnectionDrains(t *testing.T) {
	ended := func(t *testing.T, p *rawPeer, over <-chan error) {
		t.Helper()
		p.expectEOF()
		p.out.Close()
		require.NoError(t, receiveFrom(t, over))
	}
	endsTheWaitOfACallerThatReceives(t, map[string]ending{
		"until its answer comes": {
			func(t *testing.T, p *rawPeer, _ func()) {
				over := drains(t, p)
				require.True(t, receivesForItself())
				p.write(response(p.conn.InFlight()[0].Tag, "answer"))
				ended(t, p, over)
			},
			endsWith(nil),
		},
		"until its context ends": {
			func(t *testing.T, p *rawPeer, cancel func()) {
				over := drains(t, p)
				require.True(t, receivesForItself())
				cancel()
				ended(t, p, over)
			},
			endsWith(context.Canceled),
		},
	})
}
