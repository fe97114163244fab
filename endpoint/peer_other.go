//go:build !linux

package endpoint

import (
	"net"

	"github.com/packetstream/packetstream/pconn"
)

func addSocketUser(*pconn.Peer, *net.UnixConn) {}

func peerOfFD(int) pconn.Peer { return pconn.Peer{} }
