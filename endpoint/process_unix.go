//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package endpoint

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// process is a started command, in a process group of its own, and the one that waits for it.
type process struct {
	cmd *exec.Cmd

	// exited is closed when the process has ended, after code and signalled are set. It may be not
	// waited for yet, so that its number is its own still.
	exited    chan struct{}
	code      int
	signalled os.Signal

	// mu guards reaped, and is held while a signal is sent: once the process has been waited for, its
	// number may be another's.
	mu     sync.Mutex
	reaped bool
}

// startProcess starts a command in a process group of its own. The goroutine that it starts ends with the
// process; whoever calls reap has waited for it.
func startProcess(cmd *exec.Cmd) (*process, error) {
	if err := ownGroup(cmd); err != nil {
		return nil, err
	}
	closeOnExec()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{}), code: -1}
	go p.watch()
	return p, nil
}

// ownGroup makes the command the leader of a new process group.
func ownGroup(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	attr := cmd.SysProcAttr
	if attr.Pgid != 0 {
		return errors.New("its SysProcAttr.Pgid names the group of others, which would be stopped with it")
	}
	// The leader of a session leads a group too.
	attr.Setpgid = !attr.Setsid
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends a signal to every process of the group, or to nobody once the child has been waited for.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		// Package os refuses if the child has ended. If not, its end could not be watched, and the
		// group's number is not sure.
		_ = p.cmd.Process.Signal(sig)
		return
	}
	// It fails if all have ended, or took another identity: in both cases there is nothing to do.
	_ = syscall.Kill(-p.pid(), sig)
	if sig == syscall.SIGTERM {
		// Those who were stopped would not know of it.
		_ = syscall.Kill(-p.pid(), syscall.SIGCONT)
	}
}

// reap waits for the process, which has exited, so that its number is free.
func (p *process) reap() {
	<-p.exited
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	// What the exit was is known already; after a context of the command's own it would be an error.
	_ = p.cmd.Wait()
}

// setExit notes how the process ended.
func (p *process) setExit(code int, sig os.Signal) {
	p.code, p.signalled = code, sig
	close(p.exited)
}
