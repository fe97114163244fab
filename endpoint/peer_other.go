//go:build !linux

package endpoint

import (
	"net"

	"github.com/packetstream/packetstream/pconn"
)

// peerOf says who is at the other end of a socket: its address.
func peerOf(nc net.Conn) pconn.Peer { return pconn.Peer{Addr: nc.RemoteAddr()} }

func peerOfFD(int) pconn.Peer { return pconn.Peer{} }
