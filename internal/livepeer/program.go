package livepeer

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Program returns the path of a program that is to be on the PATH, or skips the test.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("live peer absent: %s: %v", name, err)
	}
	return path
}

// Node returns the path of a Node of at least a major version, or skips the test.
func Node(t testing.TB, least int) string {
	t.Helper()
	path := Program(t, "node")
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if err != nil {
		t.Skipf("live peer absent: node: %s --version: %v", path, err)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < least {
		t.Skipf("live peer absent: node: %s is %s, and %d is needed", path, version, least)
	}
	return path
}
