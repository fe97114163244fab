package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// endWithUs has the command killed when this process is, which SIGKILL leaves no other time for. The
// system does it when the thread ends that started the command, so the calling goroutine keeps its thread until it
// calls what is returned.
func endWithUs(cmd *exec.Cmd) (done func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return runtime.UnlockOSThread
}
