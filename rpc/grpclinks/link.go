package grpclinks

import (
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/packetstream/packetstream/rpc/links"
)

// find returns what a link, or a link that it stands for, can do.
func find[T any](link links.Link) (T, bool) {
	for {
		if found, ok := link.(T); ok {
			return found, true
		}
		outer, ok := link.(interface{ Unwrap() links.Link })
		if !ok {
			var none T
			return none, false
		}
		link = outer.Unwrap()
	}
}

// lifetime is what a connection says of its end.
type lifetime interface {
	Done() <-chan struct{}
	Err() error
}

// linkErr is why the connection under a link has ended, nil if it has not or is not one.
func linkErr(link links.Link) error {
	if conn, ok := find[lifetime](link); ok {
		return conn.Err()
	}
	return nil
}

// Addr is the address of either end of a link, which has none of its own.
type Addr struct{}

// Network returns "links".
func (Addr) Network() string { return "links" }

// String returns "links".
func (Addr) String() string { return "links" }

// trustedInfo says that nobody else can read or write the link.
type trustedInfo struct{ credentials.CommonAuthInfo }

// AuthType returns "links".
func (trustedInfo) AuthType() string { return "links" }

// peerOf describes the other end, to handlers and callers.
func peerOf(trusted bool) *peer.Peer {
	p := &peer.Peer{Addr: Addr{}, LocalAddr: Addr{}}
	if trusted {
		p.AuthInfo = trustedInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	}
	return p
}
