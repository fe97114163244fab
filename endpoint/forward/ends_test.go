package forward_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/forward"
	"github.com/packetstream/packetstream/pconn"
)

// TestEndsAreAnswered: what was asked through a SOCKS proxy before its end is answered, though the client does not say
// that it has asked all.
func TestEndsAreAnswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		line, _ := in.ReadString('\n')
		fmt.Fprint(c, "got it\n")
		_, err = in.ReadByte() // the end
		fmt.Fprint(c, "goodbye, ", line)
		served <- err
	}()
	near, _ := serving(t, anywhere)
	at, ended, stop := background(t, func(ctx context.Context, o *forward.Options) error {
		return forward.Socks(ctx, near, endpoint.TCP{Addr: "127.0.0.1:0"}, o)
	})
	d, err := proxy.SOCKS5("tcp", at[len("tcp:"):], nil, proxy.Direct)
	require.NoError(t, err)
	c, err := d.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(c, "client\n")
	require.NoError(t, err)
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "got it\n", line)
	stop()
	rest, err := io.ReadAll(in)
	assert.NoError(t, err)
	assert.Equal(t, "goodbye, client\n", string(rest))
	assert.Equal(t, io.EOF, <-served)
	assert.NoError(t, <-ended)
}

// inMemory is an address that is one end of two pipes.
type inMemory struct {
	endpoint.TCP
	in  *io.PipeReader
	out *io.PipeWriter
}

func (m inMemory) Open(context.Context) (endpoint.Transport, error) { return m, nil }
func (m inMemory) Read(p []byte) (int, error)                       { return m.in.Read(p) }
func (m inMemory) Write(p []byte) (int, error)                      { return m.out.Write(p) }
func (m inMemory) CloseWrite() error                                { return m.out.Close() }
func (m inMemory) Close() error                                     { return errors.Join(m.in.Close(), m.out.Close()) }

// TestAnswerThatTakesHours after the question has ended.
func TestAnswerThatTakesHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, answer := io.Pipe()
		question, out := io.Pipe()
		to := inMemory{in: in, out: out}
		near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
			func(ctx context.Context, s *pconn.Stream) error { return forward.Connect(ctx, s, to) })})
		require.NoError(t, err)
		s, err := near.OpenStream(t.Context(), "forward", nil)
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		_, err = question.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		time.Sleep(10 * time.Hour)
		go func() {
			_, _ = io.WriteString(answer, "at last")
			_ = answer.Close()
		}()
		all, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "\x00at last", string(all))
		require.NoError(t, near.Close())
		require.NoError(t, far.Close())
	})
}
