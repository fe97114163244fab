//go:build !unix

package links

import "io"

// directWriter is not to be had here: the writer goroutine does it all.
type directWriter struct{}

func directOf(io.ReadWriteCloser) *directWriter { return nil }

func (*directWriter) write([]byte) (int, error) { return 0, nil }
