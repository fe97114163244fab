//go:build unix

package endpoint

import "os"

// hasTerminal reports whether this process has a terminal at which somebody can be asked, whatever its standard
// descriptors are.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
