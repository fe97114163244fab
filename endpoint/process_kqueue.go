//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package endpoint

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeOnExec does nothing: there is no call for it that all of these systems have.
func closeOnExec() {}

// watch waits for the process. How it ended is learned by waiting only, so the rest of its group is killed as soon
// as its exit is known, while its number is still its own.
func (p *process) watch() {
	if awaitExit(p.pid()) {
		p.signal(syscall.SIGKILL)
	}
	// From here on only package os, which knows when it has waited, may signal, and only the child.
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	state, err := p.cmd.Process.Wait()
	code, sig := -1, os.Signal(nil)
	if err == nil {
		code = state.ExitCode()
		if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			sig = ws.Signal()
		}
	}
	p.setExit(code, sig)
}

// awaitExit returns when the process has ended. It reports false, at once, where that cannot be watched.
func awaitExit(pid int) bool {
	kq, err := unix.Kqueue()
	if err != nil {
		return false
	}
	defer unix.Close(kq)
	unix.CloseOnExec(kq)
	var change [1]unix.Kevent_t
	unix.SetKevent(&change[0], pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change[0].Fflags = unix.NOTE_EXIT
	for {
		var event [1]unix.Kevent_t
		_, err := unix.Kevent(kq, change[:], event[:], nil)
		if err != unix.EINTR {
			return err == nil || err == unix.ESRCH
		}
	}
}
