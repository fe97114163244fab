//go:build unix

package links

import (
	"fmt"
	"os"
	"syscall"
)

// polled is an inherited descriptor whose reads can be woken.
func polled(fd int) *os.File {
	_ = syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), fmt.Sprint("fd ", fd))
}
