// Package childtest is what tests over real children have in common: the test's own binary as a child, a child that is
// talked to over its standard input and output, and what of processes and descriptors is left when it is over.
package childtest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Limit is how long anything may take that a test waits for.
const Limit = 10 * time.Second

// Variable makes the test's binary be a child instead.
const Variable = "PACKETSTREAM_TEST_CHILD"

// Mode returns what this process is to be as a child, "" if it is the test.
func Mode() string { return os.Getenv(Variable) }

// Command returns a command that is the test's binary as a child.
func Command(mode string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	// With the race detector a process would sleep for a second before it exits.
	cmd.Env = append(os.Environ(), Variable+"="+mode, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Soon returns a context that ends when a test has waited for too long.
func Soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*Limit)
	t.Cleanup(cancel)
	return ctx
}
