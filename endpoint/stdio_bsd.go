//go:build unix && !linux

package endpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal takes every character device for a terminal: it is asked about standard descriptors that are not the
// null device.
func isTerminal(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && os.FileMode(st.Mode)&unix.S_IFMT == unix.S_IFCHR
}

func dup2(from, to int) error { return unix.Dup2(from, to) }
