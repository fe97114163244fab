//go:build !unix

package pconn

import "os"

func writeStderr(line string) { _, _ = os.Stderr.WriteString(line) }
