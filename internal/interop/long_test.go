//go:build unix && long

package interop

import "testing"

// The acceptance run of the connection: 2,000 requests, each of which asks back, from either release.
func TestLongReferenceCallsDuplex(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			args := append(peer(t, release, "client.py"), "--requests", "2000", "--mode", "duplex", "--timeout", "80")
			args = append(args, "--", packetstream(t), "serve", "--handler", "test")
			withReference(t, release, func() error { return start(t, args).finish() })
		})
	}
}

// The same from us.
func TestLongCallsReferenceDuplex(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			args := []string{packetstream(t), "check", "--requests", "2000", "--mode", "duplex", "--timeout", "80s", "--"}
			args = append(append(args, peer(t, release, "server.py")...), "--verbose")
			withReference(t, release, func() error { return start(t, args).finish() })
		})
	}
}
