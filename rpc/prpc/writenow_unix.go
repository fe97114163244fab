//go:build unix

package prpc

import "syscall"

// writeNow writes what a socket takes without waiting, and returns how much it was. Errors are left
// to the next write.
func writeNow(raw syscall.RawConn, b []byte) int {
	if raw == nil {
		return 0
	}
	n := 0
	err := raw.Write(func(fd uintptr) bool {
		// The runtime's sockets do not block.
		n, _ = syscall.Write(int(fd), b)
		return true
	})
	if err != nil || n < 0 {
		return 0
	}
	return n
}
