//go:build !unix

package tick

import "os"

// writeStderr cannot ask here whether the write would wait. It delays only other ticks.
func writeStderr(b []byte) bool {
	n, err := os.Stderr.Write(b)
	return err == nil && n == len(b)
}
