package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// residentKiB is how much memory a process has.
func residentKiB(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(status), "VmRSS:")
	require.True(t, found)
	n, err := strconv.Atoi(strings.Fields(after)[0])
	require.NoError(t, err)
	return n
}

// buffered is how many bytes a pipe holds.
func buffered(t testing.TB, f *os.File) int {
	t.Helper()
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	var n int
	require.NoError(t, raw.Control(func(fd uintptr) {
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	}))
	require.NoError(t, err)
	return n
}

// aliveIn reports whether the process is alive whose number a file says.
func aliveIn(t testing.TB, path string) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pidIn(t, path)))
	if err != nil {
		return false
	}
	_, after, found := strings.Cut(string(stat), ") ")
	require.True(t, found)
	return after[0] != 'Z' // a zombie waits for nothing but its parent
}

// killIn kills the process whose number a file says.
func killIn(t testing.TB, path string) {
	t.Helper()
	require.NoError(t, unix.Kill(pidIn(t, path), unix.SIGKILL))
}

func pidIn(t testing.TB, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}
