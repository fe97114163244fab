package forward_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/forward"
)

func TestParseForward(t *testing.T) {
	for in, want := range map[string][2]string{
		"8080:localhost:80":            {"tcp:localhost:8080", "tcp:localhost:80"},
		"0:db:5432":                    {"tcp:localhost:0", "tcp:db:5432"},
		"10.0.0.1:8080:web:80":         {"tcp:10.0.0.1:8080", "tcp:web:80"},
		"*:8080:web:80":                {"tcp::8080", "tcp:web:80"},
		"[::1]:8080:[2001:db8::1]:443": {"tcp:[::1]:8080", "tcp:[2001:db8::1]:443"},
		"8080:/run/web.sock":           {"tcp:localhost:8080", "unix:/run/web.sock"},
		"/tmp/here.sock:web:80":        {"unix:/tmp/here.sock", "tcp:web:80"},
		"./here.sock:/there.sock":      {"unix:./here.sock", "unix:/there.sock"},
		"host:1:/there":                {"tcp:host:1", "unix:/there"},
	} {
		from, to, err := forward.ParseForward(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, [2]string{from.String(), to.String()}, in)
	}
	for in, want := range map[string]string{
		"":                    "has no port",
		"8080":                "the address to connect to is missing",
		"8080:":               "the address to connect to is missing",
		"8080:80":             "has no port",
		"8080:web":            "has no port",
		"8080:web:http":       `"http" is no port`,
		"8080:web:80:more":    `"more" is too much`,
		"8080:/a:/b":          `"/b" is too much`,
		"70000:web:80":        "is no port",
		":8080:web:80":        "a host is missing",
		"8080::80":            "a host is missing",
		"[::1:8080:web:80":    "has no port",
		"web:port:web:80":     `"port" is no port`,
		"/only/a/path":        "the address to connect to is missing",
		"1.2.3.4:80:web:port": `"port" is no port`,
		"]:0:web:80":          `"]" is no host`,
	} {
		_, _, err := forward.ParseForward(in)
		assert.ErrorContains(t, err, want, in)
	}
}

func TestParseListen(t *testing.T) {
	for in, want := range map[string]string{
		"1080": "tcp:localhost:1080", "*:1080": "tcp::1080", "[::1]:1080": "tcp:[::1]:1080", "/run/socks": "unix:/run/socks",
	} {
		a, err := forward.ParseListen(in)
		require.NoError(t, err)
		assert.Equal(t, want, a.String())
	}
	for _, in := range []string{"", "host", "1080:host", "1080:host:80"} {
		_, err := forward.ParseListen(in)
		assert.ErrorContains(t, err, "is not [HOST:]PORT or a path", in)
	}
}

func TestParseAddress(t *testing.T) {
	for _, in := range []string{"tcp:web:80", "unix:/run/web.sock"} {
		a, err := forward.ParseAddress(in)
		require.NoError(t, err)
		assert.Equal(t, in, a.String())
	}
	_, err := forward.ParseAddress("exec:sh")
	assert.ErrorContains(t, err, "only tcp: and unix:")
	_, err = forward.ParseAddress("nothing")
	assert.Error(t, err)
}

// FuzzParseForward: what is read is written as it is read again.
func FuzzParseForward(f *testing.F) {
	f.Add("8080:localhost:80")
	f.Add("[::1]:8080:/run/web.sock")
	f.Add("/a:*:0")
	f.Fuzz(func(t *testing.T, s string) {
		from, to, err := forward.ParseForward(s)
		if err != nil {
			return
		}
		for _, a := range []forward.Address{from, to} {
			again, err := forward.ParseAddress(a.String())
			if u, ok := a.(endpoint.Unix); ok && err != nil {
				// Some paths are none for a socket.
				require.NotEmpty(t, u.Path)
				continue
			}
			require.NoError(t, err)
			assert.Equal(t, a, again)
		}
	})
}
