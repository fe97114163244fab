package endpoint

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Over is what the connection to a child goes over.
type Over uint8

const (
	// OverStdio is the child's standard input and output, which then are the connection's alone.
	OverStdio Over = iota
	// OverPipes is two pipes beside the standard descriptors, as a rule the child's descriptors 3, to read, and 4, to
	// write: those behind the exec.Cmd.ExtraFiles that are set. The child may print. FDVariable names them.
	OverPipes
	// OverSocket is one descriptor, as a rule 3, which is a Unix socket: files can be passed over it (see
	// pconn.Options.MaxFiles), and both ends know each other's process.
	OverSocket
)

func (o Over) String() string {
	return [...]string{"standard input and output", "two pipes", "a socket"}[o]
}

// FDVariable is the environment variable by which a child is told that the connection goes over other descriptors than
// its standard ones: "3,4" for one to read and one to write, "3" for a socket. ServeStdio and Stdio heed it, and take it
// away from the environment, since it is not meant for the child's own children.
const FDVariable = "PACKETSTREAM_FD"

// tellFD sets or takes away FDVariable in a command's environment.
func tellFD(cmd *exec.Cmd, e *FD) {
	value := ""
	if e != nil {
		value = strings.TrimPrefix(e.String(), "fd:")
	}
	setVariable(cmd, FDVariable, value)
}

// givenFD returns the descriptors that this process was started with as a child, if they are not the standard ones.
func givenFD() (e FD, given bool, err error) {
	s, given := os.LookupEnv(FDVariable)
	if !given {
		return FD{}, false, nil
	}
	parsed, err := parseFD(s)
	if err != nil {
		return FD{}, true, fmt.Errorf("endpoint: %s: %w", FDVariable, err)
	}
	return parsed.(FD), true, os.Unsetenv(FDVariable)
}
