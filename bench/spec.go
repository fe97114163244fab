package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// spec is what a pair of processes is to measure. It is passed to both as an argument.
type spec struct {
	Peer    string     `json:"peer"`
	Cell    peer.Cell  `json:"cell"`
	Times   load.Times `json:"times"`
	Profile string     `json:"profile,omitempty"` // where profiles are written
}

func (s *spec) argument() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	return string(b)
}

func parseSpec(arg string) (*spec, *peer.Peer, error) {
	s := new(spec)
	if err := json.Unmarshal([]byte(arg), s); err != nil {
		return nil, nil, err
	}
	found, err := peer.Find(s.Peer)
	if err != nil {
		return nil, nil, err
	}
	return s, found[0], nil
}

// conns returns how many connections there are.
func (s *spec) conns() int { return max(1, s.Cell.Conns) }

// Descriptors of the answering process: those of the control, then two for each further connection.
const (
	controlFD = 3
	furtherFD = 5
)

// pair is the two pipes of a connection, and which end of each is whose.
type pair struct {
	r, w           *os.File // ours
	theirR, theirW *os.File
}

func newPair() (p pair, err error) {
	var errs [2]error
	p.r, p.theirW, errs[0] = os.Pipe()
	p.theirR, p.w, errs[1] = os.Pipe()
	return p, errors.Join(errs[:]...)
}

// answering is the process that answers.
type answering struct {
	cmd     *exec.Cmd
	control pair
}

// startAnswering starts the process that answers on the pairs.
func startAnswering(s *spec, p *peer.Peer, pairs []pair) (*answering, error) {
	a := new(answering)
	var err error
	if p.Python != nil && p.Python.Answers {
		a.cmd, err = p.Python.Server()
	} else {
		a.cmd, err = selfCommand("answerer", s.argument())
	}
	if err != nil {
		return nil, err
	}
	if a.control, err = newPair(); err != nil {
		return nil, err
	}
	a.cmd.Stdin, a.cmd.Stdout, a.cmd.Stderr = pairs[0].theirR, pairs[0].theirW, os.Stderr
	a.cmd.ExtraFiles = []*os.File{a.control.theirR, a.control.theirW}
	for _, q := range pairs[1:] {
		a.cmd.ExtraFiles = append(a.cmd.ExtraFiles, q.theirR, q.theirW)
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	for _, q := range append(pairs, a.control) {
		err = errors.Join(err, q.theirR.Close(), q.theirW.Close())
	}
	return a, err
}

func selfCommand(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	return exec.Command(self, args...), err
}

// end lets the process end, which it does when its control ends, or by force where it has none.
func (a *answering) end(force bool) error {
	err := errors.Join(a.control.w.Close(), a.control.r.Close())
	if force {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		return err
	}
	return errors.Join(err, a.cmd.Wait())
}

// inherited returns a descriptor that was passed to this process as a file, in the runtime's poller unless it is to block.
func inherited(fd int, blocking bool) (*os.File, error) {
	if err := unix.SetNonblock(fd, !blocking); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)), nil
}
