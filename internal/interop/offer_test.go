//go:build unix

package interop

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// The reference has no extensions. Offering them to it changes nothing, whoever calls.
func TestLiveReferenceIsOfferedExtensions(t *testing.T) {
	for _, release := range releases {
		for _, mode := range modes {
			t.Run(release+"/it calls/"+mode, func(t *testing.T) {
				t.Parallel()
				args := append(peer(t, release, "client.py"), "--mode", mode, "--grace", "0", "--requests", "200", "--timeout", "60", "--",
					packetstream(t), "serve", "--handler", "test", "--extensions", "offer")
				withReference(t, release, func() error { return start(t, args).finish() })
			})
		}
		for name, connect := range carriers {
			t.Run(release+"/we call/"+name, func(t *testing.T) {
				t.Parallel()
				server := append(peer(t, release, "server.py"), "--grace", "0")
				check := []string{packetstream(t), "check", "--timeout", "0", "--mode", "duplex", "--requests", "200", "--extensions", "offer"}
				withReference(t, release, func() error { return connect(t, check, server) })
			})
		}
	}
}

// One line on its standard error is all that an offer costs.
func TestLiveOfferIsOneLine(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			server := append(peer(t, release, "server.py"), "--grace", "0", "--verbose")
			lines := func(offer string) (rejections, all int) {
				p := start(t, slices.Concat([]string{packetstream(t), "call", "--type", "2", "--count", "20", "--extensions", offer, "--"}, server))
				require.NoError(t, p.finish())
				text := p.stderr.String()
				require.NotContains(t, text, "Traceback")
				return strings.Count(text, "rejecting request: unknown channel"), strings.Count(text, "\n")
			}
			none, plain := lines("lazy")
			one, offered := lines("offer")
			require.Equal(t, 0, none)
			require.Equal(t, 1, one)
			require.Equal(t, plain+1, offered)
		})
	}
}

// closer is a program of the reference that opens a connection and closes it at once.
const closer = `
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import pscompat
pscompat.quiet()
recv, send = os.dup(0), os.dup(1)
os.dup2(2, 1)
with pscompat.connection(recv, send, name="closer", grace=0):
  pass
`

// A reference that closes as soon as it is open answers no HELLO, and may not even take it. That is no error.
func TestLiveReferenceClosesWhenOffered(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), childLimit)
				args := python(t, release, closer)
				opts := &endpoint.StartOptions{Conn: pconn.Options{Extensions: pconn.ExtensionsOffered, Handler: testservice.New("")}}
				child, err := endpoint.Start(ctx, exec.Command(args[0], args[1:]...), opts)
				require.NoError(t, err)
				<-child.Done()
				require.ErrorIs(t, child.Err(), pconn.ErrPeerClosed)
				require.NoError(t, child.Wait())
				_, err = child.Ping(ctx)
				require.Error(t, err)
				require.NoError(t, ctx.Err())
				cancel()
			}
		})
	}
}
