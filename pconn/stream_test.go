package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// streamPair opens a stream from a to b, which listens to every name.
func streamPair(t testing.TB, a, b *pconn.Conn) (*pconn.Stream, *pconn.Stream) {
	t.Helper()
	l, err := b.Listen("")
	require.NoError(t, err)
	defer l.Close()
	opened, err := a.OpenStream(soon(t), "test", nil)
	require.NoError(t, err)
	accepted, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	return opened, accepted
}

func TestStream(t *testing.T) {
	a, b := pipes(t, nil, nil)
	l, err := b.Listen("greet")
	require.NoError(t, err)
	x, err := a.OpenStream(soon(t), "greet", pconn.Metadata{{Key: "k", Value: []byte("v")}, {Key: "k", Value: []byte("w")}})
	require.NoError(t, err)
	_, err = x.Write([]byte("hello"))
	require.NoError(t, err)
	y, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	require.Equal(t, "greet", y.Name())
	require.Equal(t, x.Metadata(), y.Metadata())
	require.Equal(t, x.Number(), y.Number())
	require.True(t, x.Opened())
	require.False(t, y.Opened())
	buf := make([]byte, 10)
	n, err := y.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "hello", string(buf[:n]))

	require.NoError(t, x.CloseWrite())
	_, err = y.Read(buf)
	require.Equal(t, io.EOF, err)
	_, err = x.Write([]byte("more"))
	require.ErrorIs(t, err, net.ErrClosed)

	large := pattern(1 << 20)
	wrote := make(chan error, 1)
	go func() {
		_, err := y.Write(large)
		wrote <- errors.Join(err, y.Close())
	}()
	got, err := io.ReadAll(x)
	require.NoError(t, err)
	require.NoError(t, receiveFrom(t, wrote))
	require.True(t, bytes.Equal(large, got))
	require.NoError(t, x.Close())
	eventually(t, "both ends have forgotten the stream", func() bool { return len(a.InFlight())+len(b.InFlight()) == 0 })
}

// endsOver returns two connections over a transport, which are closed when stop is called.
type endsOver func(t testing.TB) (a, b *pconn.Conn, stop func())

func overPipes(t testing.TB) (*pconn.Conn, *pconn.Conn, func()) {
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	return ends(t, r1, w2, r2, w1)
}

func overSocket(t testing.TB) (*pconn.Conn, *pconn.Conn, func()) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer l.Close()
	x, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	y, err := l.Accept()
	require.NoError(t, err)
	return ends(t, x, x, y, y)
}

func ends(t testing.TB, r1 io.ReadCloser, w2 io.WriteCloser, r2 io.ReadCloser, w1 io.WriteCloser) (*pconn.Conn, *pconn.Conn, func()) {
	a, err := pconn.New(bufio.OwnInput(r1), bufio.OwnOutput(w2), &pconn.Options{CloseInput: true})
	require.NoError(t, err)
	b, err := pconn.New(bufio.OwnInput(r2), bufio.OwnOutput(w1), &pconn.Options{CloseInput: true})
	require.NoError(t, err)
	return a, b, func() {
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	}
}

func TestStreamIsNetConn(t *testing.T) {
	for name, over := range map[string]endsOver{"pipes": overPipes, "unix": overSocket} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b, stop := over(t)
				x, y := streamPair(t, a, b)
				return x, y, stop, nil
			})
		})
		t.Run(name+", accepted first", func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b, stop := over(t)
				x, y := streamPair(t, a, b)
				return y, x, stop, nil
			})
		})
	}
	t.Run("subprocess", func(t *testing.T) {
		nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) { return overSubprocess(t) })
	})
}

// TestMain's process, run again as a child, relays the streams that it is sent back to who sent them.
const relayVariable = "PCONN_TEST_RELAY"

// relay opens a stream back for each that it accepts and copies both ways, as long as the connection lasts.
func relay() {
	in, err1 := bufio.InputFD(0)
	out, err2 := bufio.OutputFD(1)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	c, err := pconn.New(in, out, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
		func(ctx context.Context, s *pconn.Stream) error {
			back, err := s.Conn().OpenStream(ctx, s.Name(), nil)
			if err != nil {
				return err
			}
			defer back.Close()
			var wg sync.WaitGroup
			wg.Go(func() { copyStream(back, s) })
			copyStream(s, back)
			wg.Wait()
			return nil
		})})
	if err != nil {
		panic(err)
	}
	_ = c.Wait()
}

// copyStream copies until the end of from, and passes on how it ended.
func copyStream(to, from *pconn.Stream) {
	_, err := io.Copy(to, from)
	var reset *pconn.StreamError
	switch {
	case errors.As(err, &reset) && reset.Stopped:
		from.CloseRead()
	case errors.As(err, &reset):
		to.Reset(reset.Code)
		from.Reset(reset.Code)
	default:
		to.CloseWrite()
	}
}

// overSubprocess returns the two ends of a stream that goes to a child and comes back.
func overSubprocess(t testing.TB) (net.Conn, net.Conn, func(), error) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), relayVariable+"=1")
	cmd.Stderr = os.Stderr
	w, err := cmd.StdinPipe()
	require.NoError(t, err)
	r, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c, err := pconn.New(bufio.OwnInput(r), bufio.OwnOutput(w), nil)
	require.NoError(t, err)
	l, err := c.Listen("")
	require.NoError(t, err)
	x, err := c.OpenStream(soon(t), "there and back", nil)
	require.NoError(t, err)
	y, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	return x, y, func() {
		require.NoError(t, c.Close())
		require.NoError(t, cmd.Wait())
	}, nil
}

// TestStreamOfEndedConn checks that everybody who waits is told, and what came before can be read.
func TestStreamOfEndedConn(t *testing.T) {
	for name, end := range map[string]func(a, b *pconn.Conn){
		"closed here":  func(a, _ *pconn.Conn) { a.Close() },
		"closed there": func(_, b *pconn.Conn) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pipes(t, nil, nil)
			x, y := streamPair(t, a, b)
			l, err := a.Listen("")
			require.NoError(t, err)
			_, err = y.Write([]byte("before"))
			require.NoError(t, err)
			eventually(t, "it has come", func() bool { return a.Counters().BytesIn.Load() >= b.Counters().BytesOut.Load() })
			errs := make(chan error, 3)
			go func() {
				_, err := io.ReadAll(y)
				errs <- err
			}()
			go func() {
				var err error
				for err == nil { // its reader takes what comes
					_, err = x.Write(make([]byte, 1<<20))
				}
				errs <- err
			}()
			go func() {
				_, err := l.Accept()
				errs <- err
			}()
			end(a, b)
			for range 3 {
				require.Error(t, receiveFrom(t, errs))
			}
			got := make([]byte, 10)
			n, err := x.Read(got)
			require.NoError(t, err)
			require.Equal(t, "before", string(got[:n]))
			_, err = x.Read(got)
			require.Error(t, err)
			_, err = a.OpenStream(soon(t), "", nil)
			require.Error(t, err)
			require.NoError(t, x.Close())
			require.NoError(t, y.Close())
		})
	}
}
