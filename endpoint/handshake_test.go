//go:build linux

package endpoint_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// serveWithGreeting serves with what the arguments say of it: a version, features; "plain" has no extensions, "forger"
// another cookie.
func serveWithGreeting(args []string) error {
	opts := &pconn.Options{Handler: helperMux(closeOutputs)}
	switch args[0] {
	case "default":
	case "plain":
		opts.Extensions = pconn.ExtensionsOff
	case "forger":
		opts.Cookie = []byte("guessed\n2\nfast")
	default:
		version, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return err
		}
		opts.Cookie = endpoint.Greeting(version, args[1:]...)
	}
	return endpoint.ServeStdio(context.Background(), opts)
}

func TestHandshake(t *testing.T) {
	for name, test := range map[string]struct {
		want endpoint.Handshake
		over endpoint.Over
		args []string
		has  []string
	}{
		"default":              {endpoint.Handshake{}, endpoint.OverStdio, []string{"default"}, []string{}},
		"version and features": {endpoint.Handshake{Version: 2, Features: []string{"fast"}}, endpoint.OverStdio, []string{"2", "small", "fast"}, []string{"small", "fast"}},
		"over a socket":        {endpoint.Handshake{Version: 2}, endpoint.OverSocket, []string{"2"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			child := start(t, &endpoint.StartOptions{Handshake: &test.want, Over: test.over}, "greeting", test.args...)
			require.Equal(t, test.has, child.Features())
			for _, variable := range []string{endpoint.CookieVariable, endpoint.FDVariable} {
				resp, err := child.Do(t.Context(), pconn.Request{Type: typeEnv, Payload: []byte(variable)})
				require.NoError(t, err)
				require.Empty(t, resp.Payload)
			}
			require.NoError(t, child.Close())
		})
	}
}

func TestHandshakeFails(t *testing.T) {
	for name, test := range map[string]struct {
		cmd    *exec.Cmd
		reason error
		text   string
	}{
		"wrong cookie":      {childtest.Command("greeting", "forger"), endpoint.ErrCookie, "does not know the cookie"},
		"wrong version":     {childtest.Command("greeting", "3", "fast"), endpoint.ErrVersion, `another version: "3", not 2`},
		"missing feature":   {childtest.Command("greeting", "2", "slow"), endpoint.ErrFeature, "lacks a feature: fast"},
		"no handshake":      {childtest.Command("greeting", "plain"), endpoint.ErrNoHandshake, "knows of no handshake"},
		"garbage":           {childtest.Command("text"), endpoint.ErrGarbage, "Welcome to the machine"},
		"a little garbage":  {sh("echo login:; exec sleep 60"), endpoint.ErrGarbage, `login:\n`},
		"garbage and exit":  {sh("echo Usage: helper FILE; echo no file >&2; exit 64"), endpoint.ErrGarbage, "Usage: helper FILE"},
		"silence":           {sh("echo waiting >&2; exec sleep 60"), endpoint.ErrNoGreeting, "waiting"},
		"exit before":       {childtest.Command("exit", "4"), endpoint.ErrEnded, "exit status 4"},
		"killed before":     {sh("echo goodbye >&2; kill -9 $$"), endpoint.ErrEnded, "goodbye"},
		"closes its output": {sh("exec sleep 60 >&-"), endpoint.ErrEnded, "still running"},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			cmd := test.cmd
			if cmd.Stderr == nil {
				cmd.Stderr = new(syncbuf.Buffer)
			}
			opts := short(pconn.Options{})
			opts.Handshake = &endpoint.Handshake{Version: 2, Features: []string{"fast"}, Timeout: 2 * time.Second}
			begin := time.Now()
			child, err := endpoint.Start(t.Context(), cmd, opts)
			require.Nil(t, child)
			require.Less(t, time.Since(begin), 8*time.Second)
			var failed *endpoint.HandshakeError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, failed.Reason, test.reason)
			require.ErrorContains(t, err, test.text)
			require.Positive(t, childtest.ExitOf(t, err).PID)
			childtest.AwaitGone(t, failed.Exit.PID)
			for _, other := range []error{endpoint.ErrCookie, endpoint.ErrVersion, endpoint.ErrFeature, endpoint.ErrGarbage, endpoint.ErrNoHandshake, endpoint.ErrNoGreeting, endpoint.ErrEnded} {
				if other != test.reason {
					require.NotErrorIs(t, failed.Reason, other)
				}
			}
		})
	}
}

// The context of the start bounds the handshake too.
func TestHandshakeEndsWithTheContext(t *testing.T) {
	childtest.NoLeaks(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := endpoint.Start(ctx, exec.Command("sleep", "60"), &endpoint.StartOptions{Handshake: new(endpoint.Handshake)})
	require.Equal(t, context.DeadlineExceeded, err)
}

// A secret that was meant for this process is not passed on, and one child cannot be taken for another.
func TestHandshakeCookieIsOfOneStart(t *testing.T) {
	childtest.NoLeaks(t)
	t.Setenv(endpoint.CookieVariable, "ours")
	require.Equal(t, "ours\n7\na b", string(endpoint.Greeting(7, "a", "b")))
	child := start(t, nil, "serve")
	resp, err := child.Do(t.Context(), pconn.Request{Type: typeEnv, Payload: []byte(endpoint.CookieVariable)})
	require.NoError(t, err)
	require.Empty(t, resp.Payload)
	require.NoError(t, child.Close())
	seen := map[string]bool{}
	for range 2 {
		cmd := exec.Command("/bin/sh", "-c", `echo "$`+endpoint.CookieVariable+`" >&2; exit 1`)
		cmd.Stderr = io.Discard
		_, err := endpoint.Start(t.Context(), cmd, &endpoint.StartOptions{Handshake: new(endpoint.Handshake)})
		seen[string(childtest.ExitOf(t, err).Stderr)] = true
	}
	require.Len(t, seen, 2)
	require.NoError(t, os.Unsetenv(endpoint.CookieVariable))
	require.Nil(t, endpoint.Greeting(7))
}
