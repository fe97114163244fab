package forward_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/forward"
	"github.com/packetstream/packetstream/pconn"
)

// anywhere allows everything.
var anywhere = forward.Rules{"*:*", "/*/*", "/*/*/*", "/*/*/*/*"}

// serving is a connection whose other end forwards by these rules.
func serving(t *testing.T, rules forward.Rules) (near, far *pconn.Conn) {
	t.Helper()
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: &forward.Server{Dial: rules, Listen: rules}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return near, far
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// echo answers each connection with what came, in capital letters, once the client has ended its side.
func echo(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				_, _ = io.WriteString(c, strings.ToUpper(string(b)))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l
}

// background runs one of the package's functions until the test ends, and returns the address it listens on.
func background(t *testing.T, run func(context.Context, *forward.Options) error) (at string, ended <-chan error, stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	listening, end := make(chan string, 1), make(chan error, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		end <- run(ctx, &forward.Options{Listening: func(address string) { listening <- address }})
	}()
	t.Cleanup(func() {
		stop()
		<-over
	})
	select {
	case at = <-listening:
	case err := <-end:
		t.Fatal("it does not listen: ", err)
	}
	return at, end, stop
}

// exchange says something, ends its side, and returns all that is answered.
func exchange(t *testing.T, c net.Conn, say string) string {
	t.Helper()
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	_, err := io.WriteString(c, say)
	require.NoError(t, err)
	require.NoError(t, c.(endpoint.Transport).CloseWrite())
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(b)
}

func dial(t *testing.T, at string) net.Conn {
	t.Helper()
	network, addr, _ := strings.Cut(at, ":")
	c, err := net.Dial(network, addr)
	require.NoError(t, err)
	return c
}

// places are a socket of each kind to listen on and to connect to.
func places(t *testing.T) map[string]forward.Address {
	t.Helper()
	return map[string]forward.Address{
		"tcp":  endpoint.TCP{Addr: "127.0.0.1:0"},
		"unix": endpoint.Unix{Path: filepath.Join(t.TempDir(), "s")},
	}
}

func target(t *testing.T, network string) forward.Address {
	t.Helper()
	if network == "tcp" {
		return endpoint.TCP{Addr: echo(t, network, "127.0.0.1:0").Addr().String()}
	}
	return endpoint.Unix{Path: echo(t, network, filepath.Join(t.TempDir(), "to")).Addr().String()}
}

func TestLocalAndRemote(t *testing.T) {
	for kind, run := range map[string]func(context.Context, forward.Conn, forward.Address, forward.Address, *forward.Options) error{
		"local": forward.Local, "remote": forward.Remote,
	} {
		for from, at := range places(t) {
			for _, to := range []string{"tcp", "unix"} {
				t.Run(fmt.Sprintf("%s from %s to %s", kind, from, to), func(t *testing.T) {
					near, _ := serving(t, anywhere)
					to := target(t, to)
					at, ended, stop := background(t, func(ctx context.Context, o *forward.Options) error {
						return run(ctx, near, at, to, o)
					})
					var clients sync.WaitGroup
					for n := range 20 {
						clients.Go(func() {
							say := strings.Repeat(fmt.Sprintf("hello %d;", n), 20_000)
							assert.Equal(t, strings.ToUpper(say), exchange(t, dial(t, at), say))
						})
					}
					clients.Wait()
					stop()
					assert.NoError(t, <-ended)
					network, addr, _ := strings.Cut(at, ":")
					assert.Eventually(t, func() bool {
						c, err := net.Dial(network, addr)
						if err == nil {
							c.Close()
						}
						return err != nil
					}, 30*time.Second, time.Millisecond, "it listens no more")
				})
			}
		}
	}
}

// client is an HTTP client through a SOCKS proxy.
func client(t *testing.T, at string) *http.Client {
	t.Helper()
	d, err := proxy.SOCKS5("tcp", strings.TrimPrefix(at, "tcp:"), nil, proxy.Direct)
	require.NoError(t, err)
	transport := &http.Transport{DialContext: d.(proxy.ContextDialer).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func TestSocks(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you want %s of %s", r.URL.Path, r.Host)
	}))
	defer web.Close()
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	require.NoError(t, err)
	near, _ := serving(t, forward.Rules{"127.0.0.1:" + port, "localhost:" + port})
	at, ended, stop := background(t, func(ctx context.Context, o *forward.Options) error {
		return forward.Socks(ctx, near, endpoint.TCP{Addr: "127.0.0.1:0"}, o)
	})
	c := client(t, at)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		resp, err := c.Get("http://" + host + ":" + port + "/page")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, "you want /page of "+host+":"+port, string(body))
	}
	_, err = c.Get("http://127.0.0.2:" + port + "/")
	assert.ErrorContains(t, err, "host unreachable", "it is not allowed")
	c.CloseIdleConnections()
	web.CloseClientConnections()
	stop()
	assert.NoError(t, <-ended)
}

// TestSocksRefuses what is no greeting, and commands that it does not have.
func TestSocksRefuses(t *testing.T) {
	near, _ := serving(t, anywhere)
	at, _, _ := background(t, func(ctx context.Context, o *forward.Options) error {
		return forward.Socks(ctx, near, endpoint.TCP{Addr: "127.0.0.1:0"}, o)
	})
	for name, c := range map[string]struct{ say, want string }{
		"HTTP":          {"GET / HTTP/1.1\r\n\r\n", ""},
		"SOCKS 4":       {"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", ""},
		"needs a name":  {"\x05\x01\x02", "\x05\xff"},
		"BIND":          {"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"UDP ASSOCIATE": {"\x05\x01\x00\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"cut":           {"\x05\x01\x00\x05\x01\x00\x01\x7f", "\x05\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, at)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			_, err := io.WriteString(conn, c.say)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			got, _ := io.ReadAll(conn) // it may be reset, if it has not read all
			assert.Equal(t, c.want, string(got))
		})
	}
}

// TestNothingIsAllowed without rules, and each refusal says why.
func TestNothingIsAllowed(t *testing.T) {
	near, _ := serving(t, nil)
	ctx := soon(t)
	to := target(t, "tcp")
	_, err := forward.Dial(ctx, near, to)
	assert.ErrorIs(t, err, pconn.ErrStreamRefused)
	assert.ErrorContains(t, err, to.String()+" is not allowed")
	err = forward.Remote(ctx, near, endpoint.TCP{Addr: "127.0.0.1:0"}, to, nil)
	assert.ErrorIs(t, err, pconn.ErrStreamRefused)
	assert.ErrorContains(t, err, "tcp:127.0.0.1:0 is not allowed")
	for metadata, want := range map[string]string{
		"exec:rm -rf /": "only tcp: and unix:", "": "scheme",
	} {
		s, err := near.OpenStream(ctx, "forward", pconn.Metadata{{Key: "to", Value: []byte(metadata)}})
		require.NoError(t, err)
		_, err = s.Read(make([]byte, 1))
		assert.ErrorIs(t, err, pconn.ErrStreamRefused)
		assert.ErrorContains(t, err, want)
	}
	s, err := near.OpenStream(ctx, "other", nil)
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "no handler for streams named")
}

// TestCannotConnect: the reason reaches who dialed, and a client's connection is closed.
func TestCannotConnect(t *testing.T) {
	near, _ := serving(t, anywhere)
	nobody := endpoint.Unix{Path: filepath.Join(t.TempDir(), "nobody")}
	_, err := forward.Dial(soon(t), near, nobody)
	assert.ErrorIs(t, err, pconn.ErrStreamRefused)
	assert.ErrorContains(t, err, "no such file")
	at, _, _ := background(t, func(ctx context.Context, o *forward.Options) error {
		return forward.Local(ctx, near, endpoint.TCP{Addr: "127.0.0.1:0"}, nobody, o)
	})
	c := dial(t, at)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.ReadAll(c)
	assert.NoError(t, err, "it ends")
}

func TestDialIsGivenUp(t *testing.T) {
	arrived := make(chan struct{})
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
		func(ctx context.Context, _ *pconn.Stream) error {
			close(arrived)
			<-ctx.Done()
			return nil
		})})
	require.NoError(t, err)
	defer far.Close()
	defer near.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err = forward.Dial(ctx, near, endpoint.TCP{Addr: "localhost:1"})
	assert.Equal(t, context.Canceled, err)
}

// TestOtherEndSpeaksOtherwise: what does not say that it is connected is not taken for the connection's bytes.
func TestOtherEndSpeaksOtherwise(t *testing.T) {
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
		func(_ context.Context, s *pconn.Stream) error {
			_, err := s.Write([]byte("hello"))
			return err
		})})
	require.NoError(t, err)
	defer far.Close()
	defer near.Close()
	_, err = forward.Dial(soon(t), near, endpoint.TCP{Addr: "localhost:1"})
	assert.ErrorContains(t, err, "did not say that it is connected")
}

// TestConnectionEnds: all clients get an end at once, and what listened says why it has ended.
func TestConnectionEnds(t *testing.T) {
	for kind, run := range map[string]func(context.Context, forward.Conn, forward.Address, *forward.Options) error{
		"local": func(ctx context.Context, c forward.Conn, to forward.Address, o *forward.Options) error {
			return forward.Local(ctx, c, endpoint.TCP{Addr: "127.0.0.1:0"}, to, o)
		},
		"remote": func(ctx context.Context, c forward.Conn, to forward.Address, o *forward.Options) error {
			return forward.Remote(ctx, c, endpoint.TCP{Addr: "127.0.0.1:0"}, to, o)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			near, far := serving(t, anywhere)
			to := target(t, "tcp")
			at, ended, _ := background(t, func(ctx context.Context, o *forward.Options) error { return run(ctx, near, to, o) })
			c := dial(t, at)
			defer c.Close()
			_, err := io.WriteString(c, "waits for its end")
			require.NoError(t, err)
			require.NoError(t, far.Close())
			require.NoError(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
			_, err = io.Copy(io.Discard, c) // what it wrote may have come back
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.ErrorIs(t, <-ended, pconn.ErrPeerClosed)
		})
	}
}

// TestOtherEndStopsListening without the end of the connection.
func TestOtherEndStopsListening(t *testing.T) {
	stop := make(chan struct{})
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
		func(ctx context.Context, s *pconn.Stream) error {
			err := s.Messages(100).Send(ctx, []byte("tcp:somewhere:1"))
			<-stop
			return err
		})})
	require.NoError(t, err)
	defer far.Close()
	defer near.Close()
	at, ended, _ := background(t, func(ctx context.Context, o *forward.Options) error {
		return forward.Remote(ctx, near, endpoint.TCP{Addr: "somewhere:0"}, endpoint.TCP{Addr: "localhost:1"}, o)
	})
	assert.Equal(t, "tcp:somewhere:1", at)
	close(stop)
	assert.ErrorIs(t, <-ended, forward.ErrStopped)
}
