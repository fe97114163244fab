package bufio

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ends are two bare descriptors that the test owns: what is written to w can be read from r.
type ends struct{ r, w int }

// kinds are the objects behind descriptors, and how an Input and an Output are expected to use them.
var kinds = map[string]struct {
	open    func(t *testing.T) ends
	in, out string
}{
	"pipe":              {pipeEnds(0), "reopened", "reopened"},
	"non-blocking pipe": {pipeEnds(unix.O_NONBLOCK), "reopened", "reopened"},
	"FIFO":              {fifoEnds, "reopened", "reopened"},
	"socket":            {socketEnds(0), "socket", "socket"},
	"non-blocking socket": {
		socketEnds(unix.SOCK_NONBLOCK), "poller", "poller"},
	"terminal": {ptyEnds, "goroutine", "blocking"},
}

func pipeEnds(flags int) func(t *testing.T) ends {
	return func(t *testing.T) ends {
		var p [2]int
		require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|flags))
		return own(t, p[0], p[1])
	}
}

func fifoEnds(t *testing.T) ends {
	name := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(name, 0o600))
	r, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(r, false))
	w, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return own(t, r, w)
}

func socketEnds(flags int) func(t *testing.T) ends {
	return func(t *testing.T) ends {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
		require.NoError(t, err)
		return own(t, p[0], p[1])
	}
}

// ptyEnds gives a terminal in raw mode to read from, and the side of its emulator to write to.
func ptyEnds(t *testing.T) ends {
	master, slave, err := pty.Open()
	require.NoError(t, err)
	defer master.Close()
	defer slave.Close()
	r, err := unix.Dup(int(slave.Fd()))
	require.NoError(t, err)
	w, err := unix.Dup(int(master.Fd()))
	require.NoError(t, err)
	attr, err := unix.IoctlGetTermios(r, unix.TCGETS)
	require.NoError(t, err)
	attr.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	attr.Iflag &^= unix.ICRNL | unix.IXON | unix.INLCR | unix.IGNCR | unix.ISTRIP
	attr.Oflag &^= unix.OPOST
	require.NoError(t, unix.IoctlSetTermios(r, unix.TCSETS, attr))
	return own(t, r, w)
}

func own(t *testing.T, r, w int) ends {
	t.Cleanup(func() { unix.Close(r); unix.Close(w) })
	return ends{r, w}
}

func flagsOf(t *testing.T, fd int) int {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	require.NoError(t, err, "the owner's descriptor is open")
	return flags
}

func dupInput(t *testing.T, fd int) *Input {
	t.Helper()
	f := dupFile(t, fd)
	return newInput(newFileOrigin(f, f))
}

func dupOutput(t *testing.T, fd int) *Output {
	t.Helper()
	f := dupFile(t, fd)
	return newOutput(newFileSink(f, f))
}

func dupFile(t *testing.T, fd int) *os.File {
	t.Helper()
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	require.NoError(t, err)
	return os.NewFile(uintptr(own), "descriptor")
}

// untilBlocked returns when a goroutine in the method of the given type is in the given state.
func untilBlocked(t *testing.T, method, state string) {
	t.Helper()
	require.Eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if strings.Contains(stack, method) && strings.Contains(stack, state) {
				return true
			}
		}
		return false
	}, patience, time.Millisecond, "the Input waits in the system")
}
