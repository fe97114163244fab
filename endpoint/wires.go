package endpoint

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// wires are what connects a child with us.
type wires struct {
	in     io.ReadCloser // of the connection, ours
	out    io.WriteCloser
	stderr *os.File   // ours
	theirs []*os.File // the child's ends of all of them
}

// wire connects a command with us, over its standard descriptors or others. Ours wait in the runtime's poller; theirs
// block, since what is in the child is the child's business: package os sees to that when it passes them on.
func wire(cmd *exec.Cmd, over Over) (*wires, error) {
	w := new(wires)
	if err := aboveStandard(func() error { return w.connect(cmd, over) }); err != nil {
		w.closeTheirs()
		w.closeOurs()
		return nil, err
	}
	return w, nil
}

func (w *wires) connect(cmd *exec.Cmd, over Over) error {
	r, theirStderr, err := os.Pipe()
	if err != nil {
		return err
	}
	w.stderr = r
	w.theirs = append(w.theirs, theirStderr)
	cmd.Stderr = theirStderr
	switch over {
	case OverStdio:
		read, write, err := w.pipes()
		if err != nil {
			return err
		}
		cmd.Stdin, cmd.Stdout = read, write
		tellFD(cmd, nil)
		return nil
	case OverPipes:
		read, write, err := w.pipes()
		if err != nil {
			return err
		}
		w.pass(cmd, read, write)
	case OverSocket:
		theirs, err := w.socket()
		if err != nil {
			return err
		}
		w.pass(cmd, theirs)
	default:
		return fmt.Errorf("StartOptions.Over %d is none that there is", over)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = theirStderr // what is printed is not lost
	}
	return nil
}

// pipes makes the two pipes of the connection, and returns the child's ends.
func (w *wires) pipes() (read, write *os.File, err error) {
	read, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	w.out = out
	w.theirs = append(w.theirs, read)
	in, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	w.in = in
	w.theirs = append(w.theirs, write)
	return read, write, nil
}

// pass gives the command descriptors beside its standard ones, and says which.
func (w *wires) pass(cmd *exec.Cmd, files ...*os.File) {
	first := 3 + len(cmd.ExtraFiles)
	cmd.ExtraFiles = append(cmd.ExtraFiles, files...)
	tellFD(cmd, &FD{R: first, W: first + len(files) - 1})
}

func (w *wires) closeTheirs() {
	for _, f := range w.theirs {
		_ = f.Close()
	}
	w.theirs = nil
}

func (w *wires) closeOurs() {
	if w.in != nil {
		_ = w.in.Close()
	}
	if w.out != nil {
		_ = w.out.Close()
	}
	if w.stderr != nil {
		_ = w.stderr.Close()
	}
}

// aboveStandard calls f while no standard descriptor is free to be taken: a program that has closed one of its own must
// not print into what connects us with a child.
func aboveStandard(f func() error) error {
	var low []*os.File
	defer func() {
		for _, f := range low {
			_ = f.Close()
		}
	}()
	for {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		low = append(low, null)
		if !isStandard(null) {
			return f()
		}
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
