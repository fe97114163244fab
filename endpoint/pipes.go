package endpoint

import (
	"errors"
	"os"
)

// childPipes are one side of the three pipes to a child.
type childPipes struct {
	stdin, stdout, stderr *os.File
}

// newChildPipes makes three pipes. Ours wait in the runtime's poller; theirs block, since what is in the child is
// the child's business: package os sees to that when it passes them on.
func newChildPipes() (ours, theirs *childPipes, err error) {
	ours, theirs = new(childPipes), new(childPipes)
	var errs [3]error
	theirs.stdin, ours.stdin, errs[0] = highPipe()
	ours.stdout, theirs.stdout, errs[1] = highPipe()
	ours.stderr, theirs.stderr, errs[2] = highPipe()
	if err := errors.Join(errs[:]...); err != nil {
		ours.closeAll()
		theirs.closeAll()
		return nil, nil, err
	}
	return ours, theirs, nil
}

func (p *childPipes) closeAll() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// highPipe makes a pipe with no standard descriptor: a program that has closed one of its own must not print into
// a child's pipe.
func highPipe() (r, w *os.File, err error) {
	var low []*os.File
	defer func() {
		for _, f := range low {
			_ = f.Close()
		}
	}()
	for {
		r, w, err = os.Pipe()
		if err != nil || !isStandard(r) && !isStandard(w) {
			return r, w, err
		}
		low = append(low, r, w)
	}
}

// isStandard reports whether f has one of the numbers from 0 to 2. It does not use Fd, which would take f out of
// the poller.
func isStandard(f *os.File) bool {
	rc, err := f.SyscallConn()
	if err != nil {
		return false
	}
	standard := false
	_ = rc.Control(func(fd uintptr) { standard = fd <= 2 })
	return standard
}
