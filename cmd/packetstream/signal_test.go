//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// SIGTERM lets an answer in flight arrive, takes nothing new, and ends with 0.
func TestServeDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			script := fmt.Sprintf("exec:[ $PACKETSTREAM_TYPE = 1 ] && exit; touch %s/at-work; while [ ! -e %[1]s/go ]; do sleep 0.01; done; echo answer", dir)
			s := serveAt(t, "unix:"+filepath.Join(dir, "s"), "--handler", script)
			c := dial(t, s.at)
			idle := dial(t, s.at)
			result, err := c.Submit(deadline(t), pconn.Request{})
			require.NoError(t, err)
			waitForFile(t, dir+"/at-work")

			s.signal(t, sig)
			s.awaitRefusal(t)
			<-idle.Done()
			assert.ErrorIs(t, idle.Err(), pconn.ErrPeerClosed)
			// The listener is closed first, and the connections are told after.
			eventually(t, "no new requests", func() bool {
				_, err := c.Do(deadline(t), pconn.Request{Type: 1})
				return err != nil
			})
			require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
			resp, err := result.Wait(deadline(t))
			require.NoError(t, err)
			assert.Equal(t, "answer\n", string(resp.Payload))
			assert.Equal(t, exitOK, s.end(t))
		})
	}
}

// The same on standard input and output, whose peer gets EOF.
func TestServeStdioDrains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(self(t), "serve", "--handler", fmt.Sprintf("exec:[ $PACKETSTREAM_TYPE = 1 ] && exit; touch %s/at-work; while [ ! -e %[1]s/go ]; do sleep 0.01; done; echo answer", dir))
	cmd.Env = environment()
	child, err := endpoint.Start(t.Context(), cmd, nil)
	require.NoError(t, err)
	result, err := child.Submit(deadline(t), pconn.Request{})
	require.NoError(t, err)
	waitForFile(t, dir+"/at-work")
	require.NoError(t, syscall.Kill(child.PID(), syscall.SIGTERM))
	eventually(t, "it is draining", func() bool {
		_, err := child.Do(deadline(t), pconn.Request{Type: 1})
		return errors.As(err, new(*pconn.RemoteError))
	})
	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	resp, err := result.Wait(deadline(t))
	require.NoError(t, err)
	assert.Equal(t, "answer\n", string(resp.Payload))
	assert.NoError(t, child.Wait())
}

// A second signal does not wait for what is in flight, nor for a peer that does not end.
func TestServeClosesAtSecondSignal(t *testing.T) {
	dir := t.TempDir()
	s := serveAt(t, "unix:"+filepath.Join(dir, "s"), "--handler", "exec:touch "+dir+"/at-work; sleep 60")
	silent, err := net.Dial("unix", filepath.Join(dir, "s")) // made no request, and never answers EOF
	require.NoError(t, err)
	defer silent.Close()
	c := dial(t, s.at)
	result, err := c.Submit(deadline(t), pconn.Request{})
	require.NoError(t, err)
	waitForFile(t, dir+"/at-work")
	began := time.Now()
	s.signal(t, syscall.SIGTERM)
	eofFrom(t, silent)
	s.signal(t, os.Interrupt)
	assert.Equal(t, exitInterrupted, s.end(t))
	assert.Less(t, time.Since(began), 4*time.Second, "less than a drain takes")
	_, err = result.Wait(deadline(t))
	assert.Error(t, err, "it has no answer")
	assert.Contains(t, s.stderr.String(), "interrupted")
}

// eofFrom waits for the EOF packet.
func eofFrom(t testing.TB, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(timeLimit)))
	eof := make([]byte, 4)
	_, err := io.ReadFull(c, eof)
	require.NoError(t, err)
	assert.Equal(t, "\x03\x00\x02\x00", string(eof))
}

// A drain that takes too long ends by itself.
func TestServeDrainEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serveAt(t, "unix:"+filepath.Join(dir, "s"), "--handler", "exec:touch "+dir+"/at-work; sleep 60")
	c := dial(t, s.at)
	_, err := c.Submit(deadline(t), pconn.Request{})
	require.NoError(t, err)
	waitForFile(t, dir+"/at-work")
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitLost, s.end(t))
	assert.Contains(t, s.stderr.String(), "connections did not end in time")
}

func TestServePrintsWhatIsInFlight(t *testing.T) {
	dir := t.TempDir()
	s := serveAt(t, "unix:"+filepath.Join(dir, "s"), "--handler", "exec:touch "+dir+"/$PACKETSTREAM_TYPE; while [ ! -e "+dir+"/go ]; do sleep 0.01; done")
	s.signal(t, syscall.SIGQUIT)
	assert.Equal(t, "packetstream: 0 connections that made requests", s.stderr.next(t))

	c := dial(t, s.at)
	for _, typ := range []uint64{7, 8} {
		_, err := c.Submit(deadline(t), pconn.Request{Type: typ})
		require.NoError(t, err)
		waitForFile(t, fmt.Sprintf("%s/%d", dir, typ))
	}
	s.signal(t, syscall.SIGQUIT)
	assert.Equal(t, "packetstream: 1 connections that made requests", s.stderr.next(t))
	assert.Equal(t, s.at+": 2 in flight", s.stderr.next(t))
	both := s.stderr.next(t) + s.stderr.next(t)
	assert.Regexp(t, `in channel 0 tag \d+ type 7 at work for \d`, both)
	assert.Regexp(t, `in channel 0 tag \d+ type 8 at work for \d`, both)

	// The peer has said goodbye, and its requests are still at work.
	go func() { _ = c.Shutdown(deadline(t)) }()
	s.signal(t, syscall.SIGQUIT)
	assert.Equal(t, "packetstream: 1 connections that made requests", s.stderr.next(t))
	require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
	<-c.Done()
	eventually(t, "the connection is forgotten", func() bool {
		s.signal(t, syscall.SIGQUIT)
		for {
			line := s.stderr.next(t)
			if strings.HasPrefix(line, "packetstream: ") {
				return strings.HasPrefix(line, "packetstream: 0 ")
			}
		}
	})
	s.signal(t, syscall.SIGTERM)
	assert.Equal(t, exitOK, s.end(t))
}
