//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package endpoint

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// process needs process groups as Unix has them.
type process struct {
	exited    chan struct{}
	code      int
	signalled os.Signal
}

func startProcess(*exec.Cmd) (*process, error) {
	return nil, fmt.Errorf("process groups: %w", errors.ErrUnsupported)
}

func (p *process) pid() int              { return 0 }
func (p *process) signal(syscall.Signal) {}
func (p *process) reap()                 {}
