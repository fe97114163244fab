//go:build !unix

package endpoint

import "os"

// ownStderr writes to this process's standard error.
type ownStderr struct{}

func (ownStderr) Write(p []byte) (int, error) { return os.Stderr.Write(p) }
