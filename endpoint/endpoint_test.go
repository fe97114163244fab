//go:build linux

package endpoint_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
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

		"unix:/run/x.sock#mode=0660&allow=0,1000": endpoint.Unix{Path: "/run/x.sock", Mode: 0o660, UIDs: []int{0, 1000}},
		"unix:x#allow=root":                       endpoint.Unix{Path: "x", UIDs: []int{0}},
		"unix:a#b#":                               endpoint.Unix{Path: "a#b"},
		"unix:a#b#mode=600":                       endpoint.Unix{Path: "a#b", Mode: 0o600},
		"unix-abstract:x":                         endpoint.UnixAbstract{Name: "x"},
		"unix-abstract:x#allow=any":               endpoint.UnixAbstract{Name: "x", AnyUser: true},
		"unix-abstract:x#allow=7":                 endpoint.UnixAbstract{Name: "x", UIDs: []int{7}},
		"tls:example.com:443":                     endpoint.TLS{Addr: "example.com:443"},
		"tls:[::1]:1#ca=/etc/my+ca.pem&cert=c&key=k&name=n": endpoint.TLS{Addr: "[::1]:1",
			Files: endpoint.TLSFiles{CA: "/etc/my ca.pem", Cert: "c", Key: "k", Name: "n"}},
		"ssh:host//cmd":                  endpoint.SSH{Host: "host", Command: "cmd"},
		"ssh:ada@host:22//cmd 'a b' | c": endpoint.SSH{Host: "ada@host", Port: 22, Command: "cmd 'a b' | c"},
		"ssh:[fe80::1]:2222//cmd":        endpoint.SSH{Host: "fe80::1", Port: 2222, Command: "cmd"},
		"ssh:ada@[::1]//cmd":             endpoint.SSH{Host: "ada@::1", Command: "cmd"},
		"ssh:fe80::1//cmd //x":           endpoint.SSH{Host: "fe80::1", Command: "cmd //x"},
		"activation:":                    endpoint.Activation{},
		"activation:web":                 endpoint.Activation{Name: "web"},
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

		"unix:x#mode=9":               "no octal number",
		"unix:x#mode=0":               "no octal number",
		"unix:x#mode=1777":            "more than permissions",
		"unix:x#allow=no such user":   "unknown user",
		"unix:x#allow=-1":             "unknown user",
		"unix:x#mod=0600":             `unknown parameter "mod"; there are mode allow`,
		"unix:x#mode=0600&mode=0660":  `parameter "mode" is given 2 times`,
		"unix:x#%zz":                  "invalid URL escape",
		"unix-abstract:":              "a name is missing",
		"unix-abstract:x#allow=1,any": "unknown user",
		"tls:localhost":               "missing port",
		"tls:localhost:1#key=k":       "key has no cert beside it",
		"ssh:host":                    "write ssh:HOST//COMMAND",
		"ssh:host/cmd":                "write ssh:HOST//COMMAND",
		"ssh://cmd":                   "a host is missing",
		"ssh:@host//cmd":              "a host is missing",
		"ssh:ada@//cmd":               "a host is missing",
		"ssh:host// ":                 "a command is missing",
		"ssh:-oProxyCommand=x//cmd":   "looks like an option",
		"ssh:ada@-oX//cmd":            "looks like an option",
		"ssh:-l@host//cmd":            "looks like an option",
		"ssh:host:0//cmd":             "no number from 1 to 65535",
		"ssh:host:ssh//cmd":           "no number from 1 to 65535",
		"ssh:a b//cmd":                "characters that no host has",
		"activation:a:b":              "no colon",
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
		require.Equal(t, []string{"exec:", "ssh:", "stdio:", "fd:", "unix:", "unix-abstract:", "tcp:", "tls:", "activation:"}, uerr.Known)
		require.ErrorContains(t, err, "exec: ssh: stdio: fd: unix: unix-abstract: tcp: tls: activation:")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"exec:a 'b c' \"$HOME\"", "stdio:", "fd:3,4", "unix:/x", "tcp:[::1]:0", "nats:x",
		"unix:/x#mode=0660&allow=1", "unix-abstract:x#allow=any", "tls:h:1#ca=x&cert=%2B", "ssh:u@h:22//cmd", "activation:x"} {
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
	childtest.NoLeaks(t)
	_, dialErr := endpoint.Dial(t.Context(), "nats:x", nil)
	_, listenErr := endpoint.Listen(t.Context(), "nats:x")
	for _, err := range []error{dialErr, listenErr, endpoint.Serve(t.Context(), "nats:x", nil)} {
		var uerr *endpoint.UnknownSchemeError
		require.ErrorAs(t, err, &uerr)
	}
	for _, s := range []string{"exec:x", "ssh:h//c", "stdio:", "fd:3"} {
		_, err := endpoint.Listen(t.Context(), s)
		require.ErrorIs(t, err, endpoint.ErrNotListening)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []string{"exec:x", "ssh:h//c", "stdio:", "fd:3", "unix:/no/such", "unix-abstract:no/such", "tcp:127.0.0.1:1", "tls:127.0.0.1:1"} {
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
