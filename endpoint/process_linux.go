package endpoint

import (
	"math"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// closeOnExec makes every descriptor from 3 up close-on-exec. Go opens them so; what others have opened, above all
// whoever started this process, would keep pipes open in children that know nothing of them.
func closeOnExec() {
	// An old kernel refuses, and inherits as it always did.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
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
	for {
		err := unix.Waitid(unix.P_PID, p.pid(), (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			// Another part of the program has waited for it: how it ended is lost, and its number too.
			p.mu.Lock()
			p.reaped = true
			p.mu.Unlock()
		}
		break
	}
	code, sig := exitOf(&info)
	p.setExit(code, sig)
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
