//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	socks "golang.org/x/net/proxy"

	"github.com/packetstream/packetstream/internal/livepeer"
)

// forwarder is a running packetstream forward.
type forwarder struct{ *server }

// forwards runs packetstream forward until the test ends.
func forwards(t testing.TB, args ...string) forwarder {
	t.Helper()
	return forwarder{running(t, append([]string{"forward"}, args...)...)}
}

// forwardOver runs packetstream forward with flags over a packetstream serve with others, until the test ends.
func forwardOver(t testing.TB, flags, serve []string) forwarder {
	t.Helper()
	args := append(append([]string{}, flags...), "--", self(t), "serve")
	return forwards(t, append(args, serve...)...)
}

// listening returns where it listens for a flag, as its next line says.
func (f forwarder) listening(t testing.TB, flag string) (addr string) {
	t.Helper()
	addr = f.listensAt(t, flag+" ")
	return strings.TrimPrefix(strings.TrimPrefix(addr, "tcp:"), "unix:")
}

// page serves size bytes that are no pattern, and knows their checksum.
func page(t testing.TB, size int64) (web *httptest.Server, sum []byte) {
	t.Helper()
	content := func(w io.Writer) {
		random := rand.NewChaCha8([32]byte{1})
		_, _ = io.CopyN(w, random, size) // a client that goes away is its own affair
	}
	var h hash.Hash = sha256.New()
	content(h)
	web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		content(w)
	}))
	t.Cleanup(web.Close)
	return web, h.Sum(nil)
}

func hostPort(web *httptest.Server) string { return web.Listener.Addr().String() }

// download returns the checksum of what is at a URL.
func download(t testing.TB, client *http.Client, url string) []byte {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	h := sha256.New()
	_, err = io.Copy(h, resp.Body)
	require.NoError(t, err)
	return h.Sum(nil)
}

func webClient(t testing.TB, transport *http.Transport) *http.Client {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// downloadForwarded downloads through a child process, by each of the ways.
func downloadForwarded(t *testing.T, size int64) {
	web, sum := page(t, size)
	to := hostPort(web)
	f := forwardOver(t, []string{"-L", "0:" + to, "-D", "127.0.0.1:0", "-R", "127.0.0.1:0:" + to},
		[]string{"--forward", to, "--forward-listen", "127.0.0.1:0"})
	at := map[string]string{}
	for range 3 { // in any order
		flag, addr, _ := strings.Cut(strings.TrimPrefix(f.stderr.next(t), "LISTENING "), " tcp:")
		at[flag] = addr
	}
	for _, flag := range []string{"-L", "-R"} {
		assert.Equal(t, sum, download(t, webClient(t, new(http.Transport)), "http://"+at[flag]+"/"), flag)
	}
	dialer, err := socks.SOCKS5("tcp", at["-D"], nil, socks.Direct)
	require.NoError(t, err)
	client := webClient(t, &http.Transport{DialContext: dialer.(socks.ContextDialer).DialContext})
	assert.Equal(t, sum, download(t, client, web.URL))
	client.CloseIdleConnections()
	f.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, f.end(t))
}

func TestForwardDownload(t *testing.T) { downloadForwarded(t, 16<<20) }

// TestForwardUnixSockets on either side.
func TestForwardUnixSockets(t *testing.T) {
	dir := t.TempDir()
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	l, err := net.Listen("unix", there)
	require.NoError(t, err)
	defer l.Close()
	f := forwardOver(t, []string{"-L", here + ":" + there}, []string{"--forward", dir + "/*"})
	assert.Equal(t, here, f.listening(t, "-L"))
	c, err := net.Dial("unix", here)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "hello")
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	got := make([]byte, 5)
	_, err = io.ReadFull(s, got)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
}

// TestForwardRedis has a session of a real client with a real server.
func TestForwardRedis(t *testing.T) {
	server, client := livepeer.Program(t, "redis-server"), livepeer.Program(t, "redis-cli")
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	redis := exec.CommandContext(deadline(t), server, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	require.NoError(t, redis.Start())
	defer func() {
		_ = redis.Process.Kill()
		_ = redis.Wait()
	}()
	eventually(t, "redis listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	f := forwardOver(t, []string{"-L", "0:" + socket}, []string{"--forward", socket})
	_, port, err := net.SplitHostPort(f.listening(t, "-L"))
	require.NoError(t, err)
	session := exec.CommandContext(deadline(t), client, "-h", "localhost", "-p", port)
	session.Stdin = strings.NewReader("set greeting hello\nappend greeting \" Ada\"\nget greeting\nincrby count 42\n")
	out, err := session.Output()
	require.NoError(t, err)
	assert.Equal(t, "OK\n9\nhello Ada\n42\n", string(out))

	large := bytes.Repeat([]byte("x"), 8<<20)
	session = exec.CommandContext(deadline(t), client, "-h", "localhost", "-p", port, "-x", "set", "large")
	session.Stdin = bytes.NewReader(large)
	out, err = session.Output()
	require.NoError(t, err)
	require.Equal(t, "OK\n", string(out))
	out, err = exec.CommandContext(deadline(t), client, "-h", "localhost", "-p", port, "get", "large").Output()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(append(large, '\n'), out))
}

// TestForwardChildIsKilled: its clients get the end at once, and the exit code and the message say why.
func TestForwardChildIsKilled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	pid := filepath.Join(t.TempDir(), "pid")
	script := fmt.Sprintf("echo $$ > %s; exec %s serve --forward '*:*'", pid, self(t))
	f := forwards(t, "-L", "0:"+l.Addr().String(), "--", "sh", "-c", script)
	at := f.listening(t, "-L")
	c, err := net.Dial("tcp", at)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "x")
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	_, err = io.ReadFull(s, make([]byte, 1))
	require.NoError(t, err)

	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(n, syscall.SIGKILL))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(timeLimit)))
	_, err = c.Read(make([]byte, 1))
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Error(t, err)
	assert.Equal(t, exitLost, f.end(t))
	assert.Contains(t, f.stderr.String(), "killed")
}

// TestForwardIsNotAllowed by a server without rules, or with others.
func TestForwardIsNotAllowed(t *testing.T) {
	r := packetstream(t, "forward", "-R", "0:localhost:1", "--", self(t), "serve")
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stderr, "nobody takes streams of this name")
	r = packetstream(t, "forward", "-R", "0:localhost:1", "--", self(t), "serve", "--forward-listen", "localhost:2")
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stderr, "tcp:localhost:0 is not allowed")
}

func TestForwardPlan(t *testing.T) {
	r := packetstream(t, "forward", "--dry-run", "-L", "8080:web:80", "-R", "/tmp/s:db:5432", "-D", "*:1080", "ssh:host//packetstream serve --forward web:80")
	assert.Equal(t, exitOK, r.code, r.stderr)
	assert.Contains(t, r.stdout, "would start exec:ssh ")
	assert.Contains(t, r.stdout, "would listen on tcp:localhost:8080, and connect to tcp:web:80 there\n")
	assert.Contains(t, r.stdout, "would listen on unix:/tmp/s there, and connect to tcp:db:5432\n")
	assert.Contains(t, r.stdout, "would be a SOCKS5 proxy on tcp::1080\n")
}

func TestForwardUsage(t *testing.T) {
	for args, want := range map[string]string{
		"forward":                          "it takes one ENDPOINT",
		"forward tcp:127.0.0.1:1":          "-L, -R or -D is missing",
		"forward -L 80 tcp:127.0.0.1:1":    "-L: forward:",
		"forward -R a:b tcp:127.0.0.1:1":   "-R: forward:",
		"forward -D host tcp:127.0.0.1:1":  "-D: forward:",
		"serve --forward localhost":        `rule "localhost" is not HOST:PORT`,
		"serve --forward-listen localhost": `rule "localhost" is not HOST:PORT`,
	} {
		r := packetstream(t, strings.Fields(args)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Contains(t, r.stderr, want, args)
		assert.Empty(t, r.stdout, args)
	}
}
