//go:build !unix

package grpclinks_test

import "os"

// polled is an inherited descriptor. Its reads cannot be woken here.
func polled(fd uintptr, name string) *os.File { return os.NewFile(fd, name) }
