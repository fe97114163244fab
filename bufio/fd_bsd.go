//go:build unix && !linux

package bufio

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// reopen is not tried: there is no /proc to open a pipe anew from.
func reopen(int, int) *os.File { return nil }

func isTerminal(fd int) bool { return false }

// newPolled leaves a descriptor that blocks to a goroutine that blocks with it.
func newPolled(f *os.File, _ syscall.RawConn, _ fdKind, owned io.Closer) origin {
	p := newPump(f)
	if owned != nil {
		p.stop = owned.Close
	}
	return p
}

// newSinkWaiter returns nothing: a write that blocks cannot be interrupted.
func newSinkWaiter() waiter { return nil }

// vectors is what one gathered write or scattered read needs.
type vectors struct{}

func (v *vectors) writev(fd int, bufs [][]byte) (int, error) { return unix.Write(fd, bufs[0]) }

func (v *vectors) sendNow(fd int, bufs [][]byte) (int, error) { return unix.Write(fd, bufs[0]) }

func (v *vectors) readv(fd int, bufs ...[]byte) (int, error) { return unix.Read(fd, bufs[0]) }

func (v *vectors) forget() {}
