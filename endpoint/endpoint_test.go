//go:build linux

package endpoint_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]endpoint.Endpoint{
		"exec:helper":              endpoint.Exec{Args: []string{"helper"}},
		"exec:helper -v 'a b' ''":  endpoint.Exec{Args: []string{"helper", "-v", "a b", ""}},
		`exec:helper 'it'"'"'s' $`: endpoint.Exec{Args: []string{"helper", "it's", "$"}},
		"stdio:":                   endpoint.Stdio{},
		"fd:3,4":                   endpoint.FD{R: 3, W: 4},
		"fd:5":                     endpoint.FD{R: 5, W: 5},
		"unix:/run/x.sock":         endpoint.Unix{Path: "/run/x.sock"},
		"unix:x":                   endpoint.Unix{Path: "x"},
		"tcp:127.0.0.1:80":         endpoint.TCP{Addr: "127.0.0.1:80"},
		"tcp:[::1]:http":           endpoint.TCP{Addr: "[::1]:http"},
		"tcp::0":                   endpoint.TCP{Addr: ":0"},
	} {
		t.Run(s, func(t *testing.T) {
			e, err := endpoint.Parse(s)
			require.NoError(t, err)
			require.Equal(t, want, e)
			again, err := endpoint.Parse(e.String())
			require.NoError(t, err, e.String())
			require.Equal(t, want, again)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for s, text := range map[string]string{
		"exec:":                             "a command is missing",
		"exec:a | b":                        "not a valid word",
		"exec:'a":                           "quote",
		"exec:a $(b)":                       "command substitution",
		"stdio:x":                           "takes nothing behind it",
		"fd:":                               `"" is no descriptor`,
		"fd:-1":                             `"-1" is no descriptor`,
		"fd:1,":                             `"" is no descriptor`,
		"fd:1,2,3":                          `"2,3" is no descriptor`,
		"fd:4294967296":                     "is no descriptor",
		"unix:":                             "a path is missing",
		"unix:/" + strings.Repeat("x", 103): "104 bytes",
		"tcp:":                              "tcp:HOST:PORT",
		"tcp:localhost":                     "missing port",
	} {
		t.Run(s, func(t *testing.T) {
			_, err := endpoint.Parse(s)
			var serr *endpoint.SyntaxError
			require.ErrorAs(t, err, &serr)
			require.Equal(t, s, serr.Endpoint)
			require.ErrorContains(t, err, text)
		})
	}
	for _, s := range []string{"", "helper", "EXEC:x", "udp:localhost:1", "/bin/ls"} {
		_, err := endpoint.Parse(s)
		var uerr *endpoint.UnknownSchemeError
		require.ErrorAs(t, err, &uerr)
		require.Equal(t, []string{"exec:", "stdio:", "fd:", "unix:", "tcp:"}, uerr.Known)
		require.ErrorContains(t, err, "exec: stdio: fd: unix: tcp:")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"exec:a 'b c' \"$HOME\"", "stdio:", "fd:3,4", "unix:/x", "tcp:[::1]:0", "nats:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := endpoint.Parse(s)
		if err != nil {
			return
		}
		if x, ok := e.(endpoint.Exec); ok && strings.ContainsFunc(strings.Join(x.Args, ""), func(r rune) bool { return r < ' ' || r > '~' }) {
			return // there may be no way to write such a word
		}
		again, err := endpoint.Parse(e.String())
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}

// Every way in says the same of a string that is wrong.
func TestBadEndpointEverywhere(t *testing.T) {
	noLeaks(t)
	_, dialErr := endpoint.Dial(t.Context(), "nats:x", nil)
	_, listenErr := endpoint.Listen(t.Context(), "nats:x")
	for _, err := range []error{dialErr, listenErr, endpoint.Serve(t.Context(), "nats:x", nil)} {
		var uerr *endpoint.UnknownSchemeError
		require.ErrorAs(t, err, &uerr)
	}
	for _, s := range []string{"exec:x", "stdio:", "fd:3"} {
		_, err := endpoint.Listen(t.Context(), s)
		require.ErrorIs(t, err, endpoint.ErrNotListening)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []string{"exec:x", "stdio:", "fd:3", "unix:/no/such", "tcp:127.0.0.1:1"} {
		_, err := endpoint.Dial(ended, s, nil)
		require.Equal(t, context.Canceled, err, s)
	}
	for _, s := range []string{"unix:/tmp/no/such/directory/socket", "tcp:127.0.0.1:99999"} {
		require.Error(t, endpoint.Serve(t.Context(), s, nil))
		_, err := endpoint.Dial(t.Context(), s, nil)
		require.ErrorContains(t, err, "endpoint: "+s)
	}
	_, err := endpoint.Exec{}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "a command is missing")
	for _, e := range []endpoint.Unix{{}, {Path: "x", Mode: 1 << 31}} {
		_, err := e.Dial(t.Context(), nil)
		require.Error(t, err)
		require.Error(t, e.Serve(t.Context(), nil))
	}
}
