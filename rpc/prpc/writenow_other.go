//go:build !unix

package prpc

import "syscall"

// writeNow writes nothing where there is no way to write without waiting.
func writeNow(syscall.RawConn, []byte) int { return 0 }
