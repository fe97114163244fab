//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package endpoint

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeOnExec does nothing: there is no call for it that all of these systems have.
func closeOnExec() {}

// handle is nothing: there is only the number.
type handle struct{}

func (h *handle) release() {}

func (p *process) start() error { return p.cmd.Start() }

func (p *process) send(sig syscall.Signal) error { return p.kill(sig) }

// watch waits for the process. How it ended is learned by waiting only, so the rest of its group is killed as soon
// as its exit is known, while its number is still its own.
func (p *process) watch() {
	if awaitExit(p.pid()) {
		_ = p.signal(syscall.SIGKILL) // nobody may be left
	}
	// From here on only package os, which knows when it has waited, may signal, and only the child.
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	state, err := p.cmd.Process.Wait()
	if err != nil {
		p.setExit(-1, nil, usage{})
		return
	}
	var sig os.Signal
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		sig = ws.Signal()
	}
	used := usage{cpu: state.UserTime() + state.SystemTime()}
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		used.memory = maxMemory(ru)
	}
	p.setExit(state.ExitCode(), sig, used)
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
