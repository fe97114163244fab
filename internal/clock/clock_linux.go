package clock

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// descriptor is an alarm that is waited for as for input.
type descriptor struct {
	file *os.File
	raw  syscall.RawConn
	done sync.WaitGroup
}

// newDescriptor returns nil where the system has no more descriptors.
func newDescriptor(ring func()) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	a := &descriptor{file: os.NewFile(uintptr(fd), "timerfd")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		_ = a.file.Close()
		return nil
	}
	a.done.Go(func() {
		var expirations [8]byte
		for {
			if _, err := a.file.Read(expirations[:]); err != nil {
				return
			}
			ring()
		}
	})
	return a
}

func (a *descriptor) set(d time.Duration) {
	// A time of zero would take the alarm away.
	at := &unix.ItimerSpec{Value: unix.NsecToTimespec(max(d, 1).Nanoseconds())}
	_ = a.raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, at, nil)
	})
}

func (a *descriptor) stop() {
	_ = a.file.Close()
	a.done.Wait()
}
