package endpoint

import (
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// closeOnExec makes every descriptor from 3 up close-on-exec. Go opens them so; what others have opened, above all
// whoever started this process, would keep pipes open in children that know nothing of them.
func closeOnExec() {
	// An old kernel refuses, and inherits as it always did.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// handle is a process's descriptor, which stays its own whoever waits for it, and the thread that the process must not
// outlive.
type handle struct {
	pidfd  *os.File // nil where the system has none
	thread func()   // gives the thread back, if not nil
}

// start starts the command on the thread whose end is its own, unless it says itself what becomes of it when its
// parent dies.
func (p *process) start() error {
	attr := p.cmd.SysProcAttr
	pidfd := -1
	given := attr.PidFD
	if given == nil {
		attr.PidFD = &pidfd
	}
	var err error
	if attr.Pdeathsig == 0 {
		attr.Pdeathsig = syscall.SIGKILL
		p.handle.thread = parent.do(func() { err = p.cmd.Start() })
	} else {
		err = p.cmd.Start()
	}
	if err != nil {
		p.handle.release()
		return err
	}
	if given != nil && *given >= 0 {
		pidfd, _ = unix.FcntlInt(uintptr(*given), unix.F_DUPFD_CLOEXEC, 3) // if not, there is none
	}
	if pidfd >= 0 && unix.SetNonblock(pidfd, true) == nil { // so that it waits in the runtime's poller
		p.handle.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	return nil
}

func (h *handle) release() {
	if h.pidfd != nil {
		_ = h.pidfd.Close()
		h.pidfd = nil
	}
	if h.thread != nil {
		h.thread()
		h.thread = nil
	}
}

// send sends a signal by the process's descriptor if that can be, else by its number. mu is held.
func (p *process) send(sig syscall.Signal) error {
	flags := unix.PIDFD_SIGNAL_PROCESS_GROUP
	if p.alone {
		flags = 0
	}
	err := p.sendByHandle(sig, flags)
	if err == syscall.ENOSYS || err == syscall.EINVAL { // since Linux 5.1, to groups since 6.9
		err = p.kill(sig)
	}
	if !p.alone && (sig == syscall.SIGKILL || err == syscall.ESRCH) {
		// It may have left its group.
		if own := p.sendByHandle(sig, 0); own == nil {
			return nil
		}
	}
	return err
}

func (p *process) sendByHandle(sig syscall.Signal, flags int) error {
	if p.handle.pidfd == nil {
		return syscall.ENOSYS
	}
	rc, err := p.handle.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = rc.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), sig, nil, flags) })
	if err != nil {
		return err
	}
	return sendErr
}

// Values of a childInfo's code, from siginfo.h.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// childInfo is siginfo_t as waitid(2) fills it in.
type childInfo struct {
	signo, errno, code int32
	fields             struct {
		_      [0]uintptr // aligns what follows as a pointer is
		pid    int32
		uid    uint32
		status int32
	}
	_ [128]byte // siginfo_t is no larger than this
}

// watch learns of the exit without waiting for the process, so that its number stays its own until the rest of
// the group has been dealt with.
func (p *process) watch() {
	var info childInfo
	var used unix.Rusage
	err := p.awaitExit(&info, &used)
	if err != nil {
		// Another part of the program has waited for it: how it ended is lost, and its number too.
		p.mu.Lock()
		p.reaped = true
		p.mu.Unlock()
	}
	code, sig := exitOf(&info)
	p.setExit(code, sig, usage{
		cpu:    time.Duration(used.Utime.Nano() + used.Stime.Nano()),
		memory: int64(used.Maxrss) << 10,
	})
}

// awaitExit waits in the runtime's poller for the process's descriptor, or else in the system, which takes a
// thread.
func (p *process) awaitExit(info *childInfo, used *unix.Rusage) error {
	if p.handle.pidfd != nil {
		rc, err := p.handle.pidfd.SyscallConn()
		var waitErr error
		if err == nil {
			err = rc.Read(func(fd uintptr) bool {
				waitErr = waitid(unix.P_PIDFD, int(fd), info, unix.WNOHANG, used)
				return waitErr != nil || info.fields.pid != 0
			})
		}
		if err == nil && waitErr != syscall.EINVAL { // since Linux 5.4
			return waitErr
		}
	}
	return waitid(unix.P_PID, p.pid(), info, 0, used)
}

func waitid(kind, id int, info *childInfo, options int, used *unix.Rusage) error {
	for {
		err := unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(info)), unix.WEXITED|unix.WNOWAIT|options, used)
		if err != unix.EINTR {
			return err
		}
	}
}

func exitOf(info *childInfo) (code int, sig os.Signal) {
	switch info.code {
	case cldExited:
		return int(info.fields.status), nil
	case cldKilled, cldDumped:
		return -1, syscall.Signal(info.fields.status)
	}
	return -1, nil
}
