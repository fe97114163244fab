package endpoint

import (
	"net"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/pconn"
)

// addSocketUser adds, by SO_PEERCRED, the process and user that connected or listened.
func addSocketUser(peer *pconn.Peer, uc *net.UnixConn) {
	if rc, err := uc.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { addCredentials(peer, int(fd)) })
	}
}

// peerOfFD says who is at the other end of a descriptor: nobody is known unless it is a Unix socket.
func peerOfFD(fd int) pconn.Peer {
	var peer pconn.Peer
	addCredentials(&peer, fd)
	return peer
}

func addCredentials(peer *pconn.Peer, fd int) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Pid == 0 {
		// It is no Unix socket: others answer with no process and user -1.
		return
	}
	peer.PID, peer.UID, peer.HasUID = int(cred.Pid), int(cred.Uid), true
}
