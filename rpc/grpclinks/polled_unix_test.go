//go:build unix

package grpclinks_test

import (
	"os"
	"syscall"
)

// polled is an inherited descriptor whose reads can be woken.
func polled(fd uintptr, name string) *os.File {
	_ = syscall.SetNonblock(int(fd), true)
	return os.NewFile(fd, name)
}
