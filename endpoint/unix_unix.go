//go:build unix

package endpoint

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restrict makes the mode of a socket that is not bound yet the one that its file will have. Where the system does
// not know of that, the file has the default mode for a moment.
func restrict(rc syscall.RawConn, mode fs.FileMode) error {
	return rc.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), uint32(mode.Perm())) })
}

// lockDir locks a directory among those who do the same, until unlock.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(socketLockWait); ; {
		// A directory is never waited for, so that there is no poller to lose.
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = d.Close() }, nil
		}
		if time.Now().After(deadline) {
			_ = d.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if err := sleep(ctx, acceptRetryMin); err != nil {
			_ = d.Close()
			return nil, err
		}
	}
}
