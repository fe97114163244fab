//go:build unix && long

package interop

import "testing"

// The acceptance run of the connection: 2,000 requests, each of which asks back, from either release.
func TestLongReferenceCallsDuplex(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			args := append(peer(t, release, "client.py"), "--requests", "2000", "--mode", "duplex", "--timeout", "80")
			start(t, append(args, "--", packetstream(t), "serve", "--handler", "test")).finish(t)
		})
	}
}

// The same from us.
func TestLongCallsReferenceDuplex(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			args := []string{packetstream(t), "check", "--requests", "2000", "--mode", "duplex", "--timeout", "80s", "--"}
			start(t, append(args, peer(t, release, "server.py")...)).finish(t)
		})
	}
}
