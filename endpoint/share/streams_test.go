//go:build linux

package share_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/share"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func openStream(t testing.TB, conn *endpoint.Conn, name string, md pconn.Metadata) *pconn.Stream {
	t.Helper()
	stream, err := conn.OpenStream(childtest.Soon(t), name, md)
	require.NoError(t, err)
	require.NoError(t, stream.SetDeadline(time.Now().Add(2*childtest.Limit)))
	t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// resetBy returns how the peer has ended a stream by force.
func resetBy(t testing.TB, err error) *pconn.StreamError {
	t.Helper()
	var reset *pconn.StreamError
	require.ErrorAs(t, err, &reset)
	require.True(t, reset.Remote, "%v", reset)
	return reset
}

// endOf asks the child how its last stream has ended.
func endOf(t testing.TB, conn *endpoint.Conn) string {
	t.Helper()
	resp, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeEnd})
	require.NoError(t, err)
	return string(resp.Payload)
}

// Many streams of many connections at once come back to whom they belong, whole.
func TestStreams(t *testing.T) {
	s := start(t, "serve", share.Options{Pool: size(2)})
	var all sync.WaitGroup
	for client := range byte(3) {
		conn := s.dial(t, "Ada")
		for n := range 8 {
			stream := openStream(t, conn, "echo", nil)
			sent := bytes.Repeat([]byte{'a' + client, byte(n)}, 1+n*100_000)
			all.Go(func() {
				_, err := stream.Write(sent)
				assert.NoError(t, err)
				assert.NoError(t, stream.CloseWrite())
			})
			all.Go(func() {
				got, err := io.ReadAll(stream)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(sent, got), "stream %d of client %d: %d bytes of %d", n, client, len(got), len(sent))
			})
		}
	}
	all.Wait()
}

// The end of one direction leaves the other open.
func TestStreamHalfClose(t *testing.T) {
	conn := start(t, "serve", share.Options{}).dial(t, "Ada")
	stream := openStream(t, conn, "after the end", nil)
	_, err := stream.Write(make([]byte, 300_000))
	require.NoError(t, err)
	require.NoError(t, stream.CloseWrite())
	all, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.Equal(t, "got 300000", string(all))
}

func TestStreamMetadata(t *testing.T) {
	md := pconn.Metadata{{Key: "a", Value: []byte("b")}, {Key: share.Key, Value: []byte("77")}, {Key: "a", Value: []byte("c")}}
	for askBack, want := range map[bool]string{false: "a=b;a=c;", true: "a=b;a=c;packetstream-connection=1;"} {
		t.Run(fmt.Sprint("ask back ", askBack), func(t *testing.T) {
			conn := start(t, "serve", share.Options{AskBack: askBack}).dial(t, "Ada")
			all, err := io.ReadAll(openStream(t, conn, "metadata", md))
			require.NoError(t, err)
			require.Equal(t, want, string(all))
		})
	}
}

// However a child ends a stream, the connection that opened it learns the same.
func TestStreamEndsOfTheChild(t *testing.T) {
	conn := start(t, "serve", share.Options{}).dial(t, "Ada")
	for name, want := range map[string]pconn.StreamError{
		"refuse":    {Refused: true, Text: "not today"},
		"not there": {Refused: true, Text: `no handler for streams named "not there"`},
		"fail":      {Text: "broken"},
		"reset":     {Code: 7},
	} {
		stream := openStream(t, conn, name, nil)
		_, err := io.ReadAll(stream)
		want.Stream, want.Name, want.Remote = stream.Number(), name, true
		require.Equal(t, &want, resetBy(t, err))
	}

	deaf := openStream(t, conn, "deaf", nil)
	all, err := io.ReadAll(deaf)
	require.NoError(t, err)
	require.Equal(t, "I do not listen", string(all))
	for err == nil {
		_, err = deaf.Write([]byte("hello?"))
	}
	require.True(t, resetBy(t, err).Stopped, "%v", err)
}

// However a connection ends a stream, the child learns it, and what was sent before an end in good order is not lost.
func TestStreamEndsOfTheConnection(t *testing.T) {
	s := start(t, "serve", share.Options{})
	watch := s.dial(t, "watch")

	stream := openStream(t, watch, "never read", nil)
	_, err := stream.Write(make([]byte, 100))
	require.NoError(t, err)
	_, err = io.ReadFull(stream, make([]byte, 1)) // the child has it
	require.NoError(t, err)
	stream.Reset(9)
	require.Contains(t, endOf(t, watch), "code 9")

	conn := s.dial(t, "Ada")
	stream = openStream(t, conn, "wait", nil)
	_, err = stream.Write([]byte("half"))
	require.NoError(t, err)
	_, err = io.ReadFull(stream, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Regexp(t, `^"(half)?", pconn: stream .* reset by the peer$`, endOf(t, watch))

	conn = s.dial(t, "Ada")
	stream = openStream(t, conn, "wait", nil)
	_, err = io.ReadFull(stream, make([]byte, 1))
	require.NoError(t, err)
	_, err = stream.Write([]byte("all of it"))
	require.NoError(t, err)
	require.NoError(t, stream.CloseWrite())
	require.NoError(t, conn.Shutdown(childtest.Soon(t)))
	require.Equal(t, `"all of it", <nil>`, endOf(t, watch))
}

// A reader that stops holds up the child's writer of its own stream, and nobody else.
func TestStreamFlowControl(t *testing.T) {
	const window = 64 << 10
	opts := share.Options{}
	opts.Pool.Start.Conn.Streams = pconn.StreamLimits{Window: window, MaxWindow: window}
	s := start(t, "serve", opts)
	slow, other := s.dial(t, "slow"), s.dial(t, "other")
	stuck := openStream(t, slow, "fill", nil)
	written := func() (n uint64) {
		resp, err := other.Do(childtest.Soon(t), pconn.Request{Type: typeWritten})
		require.NoError(t, err)
		return resp.Flags
	}
	// It has filled what there is on the way, when it gets no further while a MiB goes back and forth on each of the others.
	var before uint64
	require.Eventually(t, func() bool {
		before = written()
		for _, conn := range []*endpoint.Conn{slow, other} {
			stream := openStream(t, conn, "echo", nil)
			go func() {
				_, err := stream.Write(make([]byte, 1<<20))
				assert.NoError(t, err)
				assert.NoError(t, stream.CloseWrite())
			}()
			all, err := io.ReadAll(stream)
			require.NoError(t, err)
			require.Len(t, all, 1<<20)
		}
		return before > 0 && written() == before
	}, 2*childtest.Limit, 1)
	require.LessOrEqual(t, before, uint64(5*window), "two windows, two writers' buffers of the same size, and half as much that is copied")

	// When it reads again it gets on.
	_, err := io.CopyN(io.Discard, stuck, int64(before)+1<<20)
	require.NoError(t, err)
	require.Greater(t, written(), before)
}

// A child that dies ends its streams, and the next stream is another child's.
func TestStreamOfKilledChild(t *testing.T) {
	s := start(t, "serve", share.Options{})
	conn := s.dial(t, "Ada")
	stream := openStream(t, conn, "echo", nil)
	_, err := stream.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(stream, make([]byte, 1))
	require.NoError(t, err)
	resp, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typePID})
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(resp.Payload))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	_, err = stream.Read(make([]byte, 1))
	require.Equal(t, "the process that was asked has ended: signal: killed", resetBy(t, err).Text)

	all, err := io.ReadAll(openStream(t, conn, "metadata", pconn.Metadata{{Key: "still", Value: []byte("here")}}))
	require.NoError(t, err)
	require.Equal(t, "still=here;", string(all))
}

// A child opens streams at the connection that it says, and nowhere without.
func TestStreamsBack(t *testing.T) {
	s := start(t, "serve", share.Options{Pool: size(2), AskBack: true})
	var all sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprint("client ", i)
		conn := s.dial(t, name)
		all.Go(func() {
			resp, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeStream})
			if assert.NoError(t, err) {
				assert.Equal(t, "theirs of "+name+", 1 fields", string(resp.Payload))
			}
		})
	}
	all.Wait()
}

func TestStreamsBackAreRefused(t *testing.T) {
	conn := start(t, "serve", share.Options{}).dial(t, "Ada")
	_, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeStream})
	require.Contains(t, rejectionOf(t, err).Text(), "several connections share this process, none of which it can ask")
}

// What takes a net.Conn works through shared children.
func TestDialContext(t *testing.T) {
	conn := start(t, "serve", share.Options{}).dial(t, "Ada")
	nc, err := conn.DialContext(childtest.Soon(t), "tcp", "metadata")
	require.NoError(t, err)
	defer nc.Close()
	var _ net.Conn = nc
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "network=tcp;", string(all))
}
