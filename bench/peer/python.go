package peer

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// references are the Python package with itself and against packetstream, at its default grace and without one. Its
// newer release is the one measured.
func references() []*Peer {
	var all []*Peer
	for _, grace := range []struct{ suffix, seconds string }{{"-g10", ""}, {"-g0", "0"}} {
		for _, ends := range []struct {
			name           string
			calls, answers bool
		}{{"python", true, true}, {"go-to-python", false, true}, {"python-to-go", true, false}} {
			all = append(all, &Peer{
				Name: ends.name + grace.suffix, Kind: Reference, Open: packetstreamPeer("", echo, false).Open,
				OpenStdio: packetstreamPeer("", echo, false).OpenStdio,
				Python:    &Python{ends.calls, ends.answers, grace.seconds},
				Unfit: func(c Cell) string {
					if c.Size > 64<<10 || c.InFlight > 64 {
						return "not measured"
					}
					return ""
				},
			})
		}
	}
	return all
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

// Server returns the command of the answering end.
func (p *Python) Server() (*exec.Cmd, error) {
	return pythonCommand(append([]string{"testdata/packetstream/peers/server.py"}, p.graceArgs()...)...)
}

// Client returns the command of the calling end, to which the answering end's command and its arguments are given.
func (p *Python) Client(args ...string) (*exec.Cmd, error) {
	return pythonCommand(append(append([]string{"bench/testdata/reference_client.py"}, p.graceArgs()...), args...)...)
}

func (p *Python) graceArgs() []string {
	if p.Grace == "" {
		return nil
	}
	return []string{"--grace", p.Grace}
}
