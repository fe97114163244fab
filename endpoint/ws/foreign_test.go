package ws_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/ws"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// foreign connects with the bare library.
func foreign(t *testing.T, at string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), at, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// A peer may cut messages as it likes, and end its direction by an empty one or by a close frame.
func TestForeignPeer(t *testing.T) {
	for name, end := range map[string]func(*websocket.Conn) error{
		"empty message": func(c *websocket.Conn) error { return c.Write(context.Background(), websocket.MessageBinary, nil) },
		"EOF packet": func(c *websocket.Conn) error {
			return c.Write(context.Background(), websocket.MessageBinary, []byte("\x03\x00\x02\x00"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
			defer cancel()
			var log syncbuf.Buffer
			at, stop := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{Handler: pconn.HandlerFunc(echo),
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			c := foreign(t, at)
			for _, b := range []byte("\x04\x02\x02\x01x") {
				require.NoError(t, c.Write(ctx, websocket.MessageBinary, []byte{b}))
			}
			require.NoError(t, end(c))
			var all []byte
			for {
				kind, b, err := c.Read(ctx)
				if err != nil {
					require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err), err)
					break
				}
				require.Equal(t, websocket.MessageBinary, kind)
				all = append(all, b...)
			}
			require.Equal(t, "\x03\x02\x04x\x03\x00\x02\x00"[1:], string(all)[1:], "%q", all)
			require.NoError(t, stop())
			require.NotContains(t, log.String(), "connection ended")
		})
	}
	t.Run("close frame", func(t *testing.T) {
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		require.NoError(t, foreign(t, at).Close(websocket.StatusNormalClosure, ""))
		require.ErrorIs(t, <-over, pconn.ErrPeerClosed)
	})
	t.Run("text", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
		defer cancel()
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		c := foreign(t, at)
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte("hello")))
		_, _, err := c.Read(ctx)
		require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err))
		require.ErrorContains(t, <-over, "the peer sent a text message")
	})
	t.Run("gone", func(t *testing.T) {
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		require.NoError(t, foreign(t, at).CloseNow())
		err := <-over
		require.Error(t, err)
		require.NotErrorIs(t, err, pconn.ErrPeerClosed, "it has not said that it goes")
	})
}

// The end of one direction leaves the other open, so that bytes can be joined to something else.
func TestHalfClose(t *testing.T) {
	l, err := ws.WS{URL: "ws://127.0.0.1:0/"}.Listen(t.Context())
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		served <- l.ServeBytes(context.Background(), nil, func(_ context.Context, b endpoint.Transport) error {
			all, err := io.ReadAll(b)
			if err != nil {
				return err
			}
			if _, err := b.Write(bytes.ToUpper(all)); err != nil {
				return err
			}
			return b.CloseWrite()
		})
	}()
	c, err := ws.WS{URL: "ws://" + l.Addr().String()}.Open(t.Context())
	require.NoError(t, err)
	_, err = c.Write(bytes.Repeat([]byte("abc"), 50_000))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("ABC"), 50_000), all)
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())
	require.NoError(t, <-served)
}

// A peer that does not read holds up nobody's end for long.
func TestPeerThatDoesNotRead(t *testing.T) {
	accepted := make(chan *pconn.Conn, 1)
	at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{
		CloseTimeout: 100 * time.Millisecond,
		Handler: pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			accepted <- req.Conn
			return pconn.Bytes(make([]byte, 16<<20)), nil // more than the sockets hold
		})})
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	c := foreign(t, at)
	require.NoError(t, c.Write(ctx, websocket.MessageBinary, []byte("\x03\x02\x02\x01")))
	conn := <-accepted
	began := time.Now()
	_ = conn.Close()
	<-conn.Done()
	require.Less(t, time.Since(began), timeLimit/2)
}
