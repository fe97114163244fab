package bufio

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// helpers are what a copy of the test program can be asked to do.
var helpers = map[string]func(){"broken stdout": brokenStdout}

// brokenStdout is a program whose standard output nobody reads.
func brokenStdout() {
	out, err := OutputFD(1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	for _, o := range []*Output{out, NewOutput(os.Stdout), OwnOutput(os.Stdout)} {
		for {
			err := o.Write(&slices1{bufs: [][]byte{make([]byte, 1000)}}, true)
			if errors.Is(err, ErrPeerGone) {
				break
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(4)
			}
		}
	}
	fmt.Fprintln(os.Stderr, "lives")
}

func TestABrokenStandardOutputDoesNotKill(t *testing.T) {
	for _, kind := range []string{"pipe", "socket", "non-blocking socket"} {
		t.Run(kind, func(t *testing.T) {
			e := kinds[kind].open(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"=broken stdout", "GORACE=atexit_sleep_ms=0")
			stdout := dupFile(t, e.w)
			defer stdout.Close()
			cmd.Stdout = stdout
			var stderr strings.Builder
			cmd.Stderr = &stderr
			require.NoError(t, unix.Close(e.r))
			err := cmd.Run()
			require.NoError(t, err, stderr.String())
			assert.Equal(t, "lives\n", stderr.String())
		})
	}
}
