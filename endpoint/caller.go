package endpoint

import (
	"context"
	"net"

	"github.com/packetstream/packetstream/pconn"
)

// Caller is what requests and streams can be made on, whatever is behind it: a pconn.Conn, a Conn, a Child, and a
// pool.Pool of package pool below this one. Typed calls (pconn.Call) take any, and so does what needs a net.Conn, by
// DialContext.
type Caller interface {
	pconn.Caller
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}
