package bufio

import (
	"os"

	"golang.org/x/sys/unix"
)

// openSpill makes a file that never has a name, so that not even a crash leaves it behind; where the file system
// cannot do that, one that loses its name at once.
func openSpill(dir string) (spillFile, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return openNamed(dir)
	}
	return f, nil
}
