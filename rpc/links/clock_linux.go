package links

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clock calls a function some time after it was set. It is not one of the runtime's timers, because while one of those is pending each wait
// for input has its time as a limit, which costs a short message a tenth of its way and more.
type clock struct {
	file *os.File
	// timer is used where the system has no more descriptors.
	timer *time.Timer
	done  sync.WaitGroup
}

// newClock makes a clock for the function, which must not wait. It has a goroutine until it is stopped, which waits for it.
func newClock(f func()) *clock {
	c := &clock{}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		c.timer = time.AfterFunc(time.Hour, f)
		c.timer.Stop()
		return c
	}
	c.file = os.NewFile(uintptr(fd), "timerfd")
	c.done.Go(func() {
		var expirations [8]byte
		for {
			if _, err := c.file.Read(expirations[:]); err != nil {
				return
			}
			f()
		}
	})
	return c
}

// set has the function called after d.
func (c *clock) set(d time.Duration) {
	if c.timer != nil {
		c.timer.Reset(d)
		return
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return // it is stopped
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
	})
}

// stop ends the clock.
func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
		return
	}
	_ = c.file.Close()
	c.done.Wait()
}
