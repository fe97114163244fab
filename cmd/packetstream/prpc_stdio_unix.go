//go:build unix

package main

import (
	"os"
	"syscall"
)

// stdio returns standard input and output as one stream, whose reads Close can end: those of a
// descriptor that blocks could not be.
func stdio() (pipes, error) {
	for _, fd := range []int{0, 1} {
		if err := syscall.SetNonblock(fd, true); err != nil {
			return pipes{}, err
		}
	}
	return pipes{os.NewFile(0, "stdin"), os.NewFile(1, "stdout")}, nil
}
