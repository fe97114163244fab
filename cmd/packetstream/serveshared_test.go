//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// All connections share the processes: tags and channels keep apart what they ask.
func TestServeShared(t *testing.T) {
	s := listening(t, "tcp", "serve", "--exec", endpointWords(self(t), "serve", "--handler", `exec:echo $PPID`), "--children=2", "tcp:127.0.0.1:0")
	pids := map[string]bool{}
	for range 4 {
		c := dial(t, s.at)
		for range 3 {
			resp, err := c.Do(deadline(t), pconn.Request{})
			require.NoError(t, err)
			pids[string(resp.Payload)] = true
		}
	}
	assert.LessOrEqual(t, len(pids), 2)
	c := dial(t, s.at)
	ch, err := c.Channel(9, nil)
	require.NoError(t, err)
	_, err = ch.Do(deadline(t), pconn.Request{})
	assert.ErrorIs(t, err, pconn.ErrUnknownChannel, "the process has no such channel")
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, s.end(t), s.stderr.String())
}

// Large and many requests of many clients through one process come back to whom they belong.
func TestServeSharedByMany(t *testing.T) {
	s := listening(t, "unix", "serve", "--exec", endpointWords(self(t), "serve", "--handler", "echo"), "--children=1", "unix:"+filepath.Join(t.TempDir(), "s"))
	var clients sync.WaitGroup
	for client := range byte(4) {
		c := dial(t, s.at)
		clients.Go(func() {
			for size := range 30 {
				payload := bytes.Repeat([]byte{'a' + client}, 1+size*2000)
				resp, err := c.Do(deadline(t), pconn.Request{Type: uint64(size), Flags: uint64(client), Payload: payload})
				if assert.NoError(t, err) {
					assert.Equal(t, payload, resp.Payload)
					assert.EqualValues(t, client, resp.Flags)
				}
			}
		})
	}
	clients.Wait()
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, s.end(t), s.stderr.String())
}

// What a shared process rejects, asks, or leaves unanswered when it dies, is told to who asked.
func TestServeSharedTrouble(t *testing.T) {
	shared := func(handler string) *server {
		return listening(t, "tcp", "serve", "--exec", endpointWords(self(t), "serve", "--handler", handler), "--children=1", "tcp:127.0.0.1:0")
	}
	test := shared("test")
	_, err := dial(t, test.at).Do(deadline(t), pconn.Request{Type: 1000})
	var rejected *pconn.RemoteError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, "exception during handler", rejected.Text())
	r := packetstream(t, "check", "--requests=1", test.at)
	assert.Equal(t, exitFailed, r.code, "it cannot ask back")

	// What it said last is for who runs it, and for none of those who share it.
	dying := shared("exec:echo secret >/proc/$PPID/fd/2; kill -9 $PPID; sleep 60")
	c := dial(t, dying.at)
	_, err = c.Do(deadline(t), pconn.Request{})
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, "the process that was asked has ended: signal: killed", rejected.Text())
	eventually(t, "the log has it", func() bool { return strings.Contains(dying.stderr.String(), "secret") })
	_, err = c.Do(deadline(t), pconn.Request{})
	require.Error(t, err)
	assert.False(t, errors.Is(err, pconn.ErrPeerClosed), "the connection outlives the process")
}

// With --ask-back every kind of request works as it does without sharing, both ways, for many clients at once.
func TestServeSharedAsksBack(t *testing.T) {
	s := listening(t, "tcp", "serve", "--exec", endpointWords(self(t), "serve", "--handler", "test"), "--children=2", "--ask-back", "tcp:127.0.0.1:0")
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			r := packetstream(t, "check", "--requests=100", "--mode=duplex", s.at)
			assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)
		})
	}
	clients.Wait()
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, s.end(t), s.stderr.String())
}

// Sockets are forwarded by shared processes: their streams are joined.
func TestServeSharedForwards(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	to := l.Addr().String()
	s := listening(t, "tcp", "serve", "--exec", endpointWords(self(t), "serve", "--forward", to), "--children=2", "tcp:127.0.0.1:0")
	f := forwards(t, "-L", "0:"+to, s.at)
	c, err := net.Dial("tcp", f.listening(t, "-L"))
	require.NoError(t, err)
	defer c.Close()
	sent := bytes.Repeat([]byte("abc"), 1<<20)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
	for _, p := range []*server{f.server, s} {
		p.signal(t, syscall.SIGTERM)
		assert.Equal(t, exitOK, p.end(t), p.stderr.String())
	}
}
