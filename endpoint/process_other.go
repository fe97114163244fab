//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package endpoint

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process needs process groups as Unix has them.
type process struct {
	exited    chan struct{}
	code      int
	signalled os.Signal
	usage     usage
}

type usage struct {
	cpu    time.Duration
	memory int64
}

func startProcess(*exec.Cmd, bool) (*process, error) {
	return nil, fmt.Errorf("process groups: %w", errors.ErrUnsupported)
}

func (p *process) pid() int                    { return 0 }
func (p *process) signal(syscall.Signal) error { return errors.ErrUnsupported }
func (p *process) reap()                       {}
