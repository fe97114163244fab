package peer

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// references are the Python package with itself and against packetstream, at its default grace, without one, and without one
// where each process keeps to a processor of its own. Its newer release is the one measured.
func references() []*Peer {
	var all []*Peer
	for _, way := range []struct {
		suffix, seconds string
		apart           bool
	}{{"-g10", "", false}, {"-g0", "0", false}, {"-g0-apart", "0", true}} {
		for _, ends := range []struct {
			name           string
			calls, answers bool
		}{{"python", true, true}, {"go-to-python", false, true}, {"python-to-go", true, false}} {
			all = append(all, &Peer{
				Name: ends.name + way.suffix, Kind: Reference, Open: packetstreamPeer("", echo, false).Open,
				OpenStdio: packetstreamPeer("", echo, false).OpenStdio,
				Python:    &Python{ends.calls, ends.answers, way.seconds, way.apart},
				Unfit:     func(c Cell) string { return unfitForPython(c, way.apart) },
			})
		}
	}
	return all
}

// unfitForPython says why the reference is not measured in a cell. Where it is alone with one call none of its threads
// waits for another, wherever they run.
func unfitForPython(c Cell, apart bool) string {
	switch {
	case c.Size > 64<<10 || c.InFlight > 64:
		return "left out, to keep the run short"
	case apart && (c.InFlight < 64 || c.Size > 1<<10):
		return "the processors make no difference there"
	case apart && runtime.GOOS != "linux":
		return "only Linux keeps a process to a processor"
	}
	return ""
}

// PythonRelease is the release of the reference that is measured.
const PythonRelease = "20240630"

// Root returns the directory of the library's module, above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "testdata/packetstream/peers/server.py")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("the working directory is not inside of the repository")
		}
		dir = up
	}
	return "", err
}

// ErrNoPython says that the reference's environment has not been made; scripts/peers/packetstream.sh makes it.
var ErrNoPython = errors.New("the reference's environment is not there: run scripts/peers/packetstream.sh")

func pythonCommand(args ...string) (*exec.Cmd, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	python := filepath.Join(root, ".cache/peers/packetstream-"+PythonRelease, "bin/python")
	if _, err := os.Stat(python); err != nil {
		return nil, ErrNoPython
	}
	for i := range 2 {
		if i < len(args) && filepath.Ext(args[i]) == ".py" {
			args[i] = filepath.Join(root, args[i])
		}
	}
	cmd := exec.Command(python, args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(root, "testdata/packetstream/peers"))
	return cmd, nil
}

// The processors that the ends keep to where they keep apart, numbered among those that a process may use.
const (
	CallerProcessor = iota
	AnswererProcessor
)

// Server returns the command of the answering end.
func (p *Python) Server() (*exec.Cmd, error) {
	return pythonCommand(append([]string{"testdata/packetstream/peers/server.py"}, p.options(AnswererProcessor)...)...)
}

// Client returns the command of the calling end, to which the answering end's command and its arguments are given.
func (p *Python) Client(args ...string) (*exec.Cmd, error) {
	return pythonCommand(append(append([]string{"bench/testdata/reference_client.py"}, p.options(CallerProcessor)...), args...)...)
}

// options are those of both ends. cpu is the end's processor, if it has one of its own.
func (p *Python) options(cpu int) (args []string) {
	if p.Grace != "" {
		args = append(args, "--grace", p.Grace)
	}
	if p.Apart {
		args = append(args, "--cpu", strconv.Itoa(cpu))
	}
	return args
}
