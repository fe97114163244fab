//go:build !unix

package links

import (
	"fmt"
	"os"
)

// polled is an inherited descriptor. Its reads cannot be woken here.
func polled(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprint("fd ", fd)) }
