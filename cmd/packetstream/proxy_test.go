//go:build unix

package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Every kind of request goes through a proxy, both ways, from many clients.
func TestProxyCommand(t *testing.T) {
	s := listening(t, "tcp", "proxy", "tcp:127.0.0.1:0", "--", self(t), "serve", "--handler", "test")
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			r := packetstream(t, "check", "--requests=50", "--mode=duplex", s.at)
			assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)
		})
	}
	clients.Wait()
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, s.end(t))
	assert.Equal(t, 1, strings.Count(s.stderr.String(), "\n"), s.stderr.String())
}

// The same with --exec, and through a chain of proxies: a WebSocket, a socket, standard input and output.
func TestProxyChain(t *testing.T) {
	served := listening(t, "unix", "serve", "--exec", endpointWords(self(t), "serve", "--handler", "test"), "unix:"+filepath.Join(t.TempDir(), "s"))
	web := listening(t, "ws", "proxy", "ws://127.0.0.1:0/p", served.at)
	at := "ws://" + strings.TrimPrefix(web.at, "ws:") + "/p"
	r := packetstream(t, "check", "--requests=50", "--mode=duplex", "--", self(t), "proxy", "stdio:", at)
	assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)
	for _, s := range []*server{web, served} {
		s.signal(t, syscall.SIGTERM)
		assert.Equal(t, exitOK, s.end(t))
		assert.Equal(t, 1, strings.Count(s.stderr.String(), "\n"), s.stderr.String())
	}
}

// endpointWords are words as exec: has them.
func endpointWords(words ...string) string {
	return strings.TrimPrefix(endpoint.Exec{Args: words}.String(), "exec:")
}

// Extensions of the two ends go through a proxy, which knows nothing of them.
func TestProxyExtensions(t *testing.T) {
	l, err := endpoint.Listen(t.Context(), "tcp:127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		served <- l.Serve(ctx, &pconn.Options{Handler: pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == 1 {
				return pconn.Reply{}, pconn.NewError(7, "seven")
			}
			return pconn.Text(req.Metadata.Text("key")).WithMetadata(req.Metadata), nil
		})})
	}()
	defer func() {
		cancel()
		assert.NoError(t, <-served)
	}()
	s := listening(t, "tcp", "proxy", "tcp:127.0.0.1:0", "tcp:"+l.Addr().String())
	c := dial(t, s.at)
	var md pconn.Metadata
	md.AddText("key", "value")
	resp, err := c.Do(deadline(t), pconn.Request{Metadata: md})
	require.NoError(t, err)
	assert.Equal(t, "value", string(resp.Payload))
	assert.Equal(t, "value", resp.Metadata.Text("key"))
	_, err = c.Do(deadline(t), pconn.Request{Type: 1})
	var rejected *pconn.RemoteError
	require.ErrorAs(t, err, &rejected)
	assert.EqualValues(t, 7, rejected.Code)
	require.NoError(t, c.Shutdown(deadline(t)))
}

// The end of each direction goes through, whatever the bytes are.
func TestProxyHalfClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cmd := command(t, "proxy", "--connect", "tcp:"+l.Addr().String(), "exec:tr a-z A-Z")
	require.NoError(t, cmd.Start())
	nc, err := l.Accept()
	require.NoError(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, nc.(*net.TCPConn).CloseWrite())
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	assert.Equal(t, "HELLO", string(all))
	assert.NoError(t, cmd.Wait())
}

// Whatever standard input and output are, a proxy that does not need them works.
func TestProxyWithOddDescriptors(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	terminal, other, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	defer other.Close()
	for name, script := range map[string]string{
		"terminal": `exec "$0" "$@" <` + other.Name() + ` >` + other.Name(),
		"closed":   `exec "$0" "$@" <&- >&-`,
		"file":     `exec "$0" "$@" <` + file.Name() + ` >>` + file.Name(),
	} {
		t.Run(name, func(t *testing.T) {
			at := "unix:" + filepath.Join(t.TempDir(), "s")
			args := []string{"serve", "--exec", endpointWords(self(t), "serve"), at}
			cmd := command(t, args...)
			cmd.Path, cmd.Args = "/bin/sh", append([]string{"/bin/sh", "-c", script, self(t)}, args...)
			stderr := &lines{}
			cmd.Stderr = stderr
			require.NoError(t, cmd.Start())
			stderr.next(t)
			r := packetstream(t, "call", "--payload=x", at)
			assert.Equal(t, ran{exitOK, "x\n", ""}, r)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			assert.NoError(t, cmd.Wait(), stderr.String())
		})
	}
}
