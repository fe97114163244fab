package main

import (
	"bufio"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallInterruptedReadingThePayload(t *testing.T) {
	in, w, closeIn := pipe(t)
	defer closeIn()
	cmd := command(t, "call", "--payload=-", "--", self(t), "serve")
	cmd.Stdin = in
	require.NoError(t, cmd.Start())
	// It reads once the pipe is empty.
	_, err := w.Write([]byte("x"))
	require.NoError(t, err)
	eventually(t, "the payload is read", func() bool { return buffered(t, in) == 0 })
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitInterrupted, exitStatus(t, cmd.Wait()))
}

// However many requests there are, memory holds those in flight only.
func TestCallManyInBoundedMemory(t *testing.T) {
	const count, size = 60000, 4000
	cmd := command(t, "call", fmt.Sprint("--count=", count), "--in-flight=64", "--type=2", "--payload="+strings.Repeat("x", size),
		"--", self(t), "serve", "--handler", "test")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	out := bufio.NewReaderSize(stdout, 1<<16)
	read := func(n int) {
		for range n {
			_, err := out.ReadSlice('\n')
			require.NoError(t, err)
		}
	}
	read(count / 3)
	before := residentKiB(t, cmd.Process.Pid)
	read(count / 3)
	after := residentKiB(t, cmd.Process.Pid)
	read(count / 3)
	require.NoError(t, cmd.Wait())
	// Were the answers kept, it would be all of them.
	assert.Less(t, after-before, count/3*size/2>>10, "KiB more in memory")
}
