package childtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
)

// NoLeaks checks, when the test has ended, that it has left no descriptor and no process of this one's.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := Descriptors(t)
	t.Cleanup(func() { NothingIsLeft(t, before) })
}

// NothingIsLeft checks that this process has no children, and no more descriptors than before.
func NothingIsLeft(t testing.TB, before []string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(Children(t)) == 0 }, Limit, 5*time.Millisecond,
		"children are left: %v", Children(t))
	require.Eventually(t, func() bool { return len(Descriptors(t)) <= len(before) }, Limit, 5*time.Millisecond,
		"descriptors are left: %v, before %v", Descriptors(t), before)
}

// Descriptors are this process's open ones and what they are, those of the runtime's poller aside.
func Descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var open []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "/proc/") {
			open = append(open, e.Name()+" "+to)
		}
	}
	return open
}

// Children are the processes of this one that are there or not waited for.
func Children(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	var pids []string
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			pids = append(pids, strings.Fields(string(b))...)
		}
	}
	return pids
}

// State is the letter for a process's state, or "" if there is no such process.
func State(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return string(rest[:1])
}

// AwaitState waits until a process has one of the states.
func AwaitState(t testing.TB, pid int, states ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Contains(states, State(pid)) },
		Limit, 5*time.Millisecond, "process %d has another state than %q", pid, states)
}

// AwaitGone waits until a process is no more, or is waited for by init only.
func AwaitGone(t testing.TB, pid int) {
	t.Helper()
	AwaitState(t, pid, "", "Z", "X")
}

// ExitOf returns the end of a child that an error tells of.
func ExitOf(t testing.TB, err error) *endpoint.ExitError {
	t.Helper()
	var exit *endpoint.ExitError
	require.ErrorAs(t, err, &exit)
	return exit
}
