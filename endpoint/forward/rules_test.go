package forward_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint/forward"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		rules   forward.Rules
		allowed []string
		refused []string
	}{
		{nil, nil, []string{"tcp:localhost:80", "unix:/run/web.sock", "tcp::80"}},
		{
			forward.Rules{"localhost:80", "db:*"},
			[]string{"tcp:localhost:80", "tcp:LocalHost:80", "tcp:db:1", "tcp:db:65535"},
			[]string{"tcp:localhost:81", "tcp:127.0.0.1:80", "tcp:db.example:1", "unix:localhost:80", "tcp::80"},
		},
		{
			forward.Rules{"*:443", "[::1]:80"},
			[]string{"tcp:web:443", "tcp:[2001:db8::1]:443", "tcp:[::1]:80", "tcp::443"},
			[]string{"tcp:web:80", "unix:/443"},
		},
		{forward.Rules{"*:*"}, []string{"tcp:web:443", "tcp::1"}, []string{"unix:/run/web.sock"}},
		{
			forward.Rules{"/run/*.sock"},
			[]string{"unix:/run/web.sock"},
			[]string{"unix:/run/user/web.sock", "unix:/run/../etc/a.sock", "unix:/run/web", "tcp:/run/web.sock:80"},
		},
	} {
		require.NoError(t, c.rules.Check())
		for _, a := range c.allowed {
			assert.True(t, forward.Allow(c.rules, address(t, a)), "%q: %s", c.rules, a)
		}
		for _, a := range c.refused {
			assert.False(t, forward.Allow(c.rules, address(t, a)), "%q: %s", c.rules, a)
		}
	}
	for _, rule := range []string{"", "localhost", "localhost:http", "localhost:99999", "/run/[", "1:2:3"} {
		assert.ErrorContains(t, forward.Rules{rule}.Check(), "forward: rule", rule)
	}
}

func address(t *testing.T, s string) forward.Address {
	t.Helper()
	a, err := forward.ParseAddress(s)
	require.NoError(t, err)
	return a
}
