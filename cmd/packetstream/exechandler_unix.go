//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// killGroup gives the command a process group of its own, which is killed where the command would be.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		// A command that has been waited for must not be signalled by its number.
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return err
		}
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return os.NewSyscallError("kill", err)
		}
		return nil
	}
}
