//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package endpoint

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a started command and the one that waits for it. As a rule it leads a process group of its own.
type process struct {
	cmd   *exec.Cmd
	alone bool // it is in this process's own group, so that signals are for it alone

	// exited is closed when the process has ended, after code, signalled and usage are set. It may be not
	// waited for yet, so that its number is its own still.
	exited    chan struct{}
	code      int
	signalled os.Signal
	usage     usage

	// mu guards what follows, and is held while a signal is sent: once the process has been waited for, its
	// number may be another's.
	mu     sync.Mutex
	reaped bool
	handle handle // what the system knows the process by, besides its number
}

// usage is what a process has used up.
type usage struct {
	cpu    time.Duration
	memory int64 // at most, in bytes
}

// startProcess starts a command, in a process group of its own unless it is to be alone in ours. The goroutine
// that it starts ends with the process; whoever calls reap has waited for it.
func startProcess(cmd *exec.Cmd, alone bool) (*process, error) {
	if err := setGroup(cmd, alone); err != nil {
		return nil, err
	}
	closeOnExec()
	p := &process{cmd: cmd, alone: alone, exited: make(chan struct{}), code: -1}
	if err := p.start(); err != nil {
		return nil, err
	}
	go p.watch()
	return p, nil
}

// setGroup makes the command the leader of a new process group, or leaves it in ours.
func setGroup(cmd *exec.Cmd, alone bool) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	attr := cmd.SysProcAttr
	switch {
	case attr.Pgid != 0:
		return errors.New("its SysProcAttr.Pgid names the group of others, which would be stopped with it")
	case alone && (attr.Setpgid || attr.Setsid):
		return errors.New("it cannot have the foreground and a process group or session of its own (SysProcAttr)")
	}
	// The leader of a session leads a group too.
	attr.Setpgid = !alone && !attr.Setsid
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends a signal to every process of the group, or to the process alone, or to nobody once it is too late. The
// error is os.ErrProcessDone then.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.send(sig)
	if sig == syscall.SIGTERM {
		// Those who were stopped would not know of it.
		_ = p.send(syscall.SIGCONT)
	}
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// kill sends a signal by number, to the process or its group. mu is held.
func (p *process) kill(sig syscall.Signal) error {
	switch {
	case p.reaped:
		// Package os refuses if the process has ended. If not, its end could not be watched, and the
		// group's number is not sure.
		return p.cmd.Process.Signal(sig)
	case p.alone:
		return syscall.Kill(p.pid(), sig)
	}
	return syscall.Kill(-p.pid(), sig)
}

// reap waits for the process, which has exited, so that its number is free.
func (p *process) reap() {
	<-p.exited
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	// What the exit was is known already; after a context of the command's own it would be an error.
	_ = p.cmd.Wait()
	p.mu.Lock()
	p.handle.release()
	p.mu.Unlock()
}

// setExit notes how the process ended.
func (p *process) setExit(code int, sig os.Signal, used usage) {
	p.code, p.signalled, p.usage = code, sig, used
	close(p.exited)
}
