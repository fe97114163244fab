package tick

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// helpers are what a copy of the test program can be asked to do.
var helpers = map[string]func(){
	"symbols": func() {
		ticker := New(Stderr)
		for _, s := range []Symbol{Sent, Grace, Flush, Received, EOF} {
			ticker.Tick(s)
		}
		fmt.Println(ticker.Close(context.Background()), StderrDropped())
	},
	"flood": func() {
		// More than any pipe holds by default, in portions that the queue holds.
		start := time.Now()
		var dropped uint64
		for range floods {
			ticker := New(Stderr)
			for range queued {
				ticker.Tick(Grace)
			}
			if err := ticker.Close(context.Background()); err != nil {
				fmt.Println(err)
			}
			dropped += ticker.Dropped()
		}
		flags, err := unix.FcntlInt(2, unix.F_GETFL, 0)
		fmt.Println(dropped, StderrDropped(), flags&unix.O_NONBLOCK, err, time.Since(start) < patience)
	},
}

const (
	floods   = 50
	patience = 20 * time.Second
)

// helper runs a copy of the test program, with stderr as descriptor 2, and returns what it prints.
func helper(t *testing.T, role string, stderr *os.File) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	if stderr == nil {
		// The shell closes descriptor 2, which exec.Cmd cannot.
		cmd = exec.CommandContext(ctx, "sh", "-c", `exec "$0" 2>&-`, os.Args[0])
		cmd.Env = append(os.Environ(), helperEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	} else {
		cmd.Stderr = stderr
	}
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

// blockingPipe returns a pipe whose writing end blocks, as the standard error of a program does.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestStderrGetsTheSymbols(t *testing.T) {
	r, w := blockingPipe(t)
	assert.Equal(t, "<nil> 0\n", helper(t, "symbols", w))
	require.NoError(t, w.Close())
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, ">SgF<>EOF", string(got))
}

func TestAFullStderrDropsTicks(t *testing.T) {
	r, w := blockingPipe(t)
	out := helper(t, "flood", w)
	require.NoError(t, w.Close())
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	written := 0
	for ; len(got) > 0; written++ {
		require.Equal(t, "Sg", string(got[:2]), "symbols are whole")
		got = got[2:]
	}
	var queueDropped, stderrDropped, nonblock int
	_, err = fmt.Sscan(out, &queueDropped, &stderrDropped, &nonblock)
	require.NoError(t, err, out)
	assert.NotZero(t, stderrDropped)
	assert.Equal(t, floods*queued, written+stderrDropped+queueDropped, "every tick is written or counted")
	assert.Zero(t, nonblock, "the descriptor's flags are unchanged")
	assert.Contains(t, out, "<nil> true", "nothing waited")
}

func TestStderrWithoutReader(t *testing.T) {
	r, w := blockingPipe(t)
	require.NoError(t, r.Close())
	assert.Equal(t, "<nil> 5\n", helper(t, "symbols", w))
}

func TestStderrThatIsClosed(t *testing.T) {
	out := helper(t, "symbols", nil)
	assert.Regexp(t, `^<nil> \d\n$`, out)
}
