//go:build linux

package endpoint_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// describeDescriptors writes down which descriptors this process was given, and whether they block.
func describeDescriptors(args []string) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		flags, ferr := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || ferr != nil || fd > 2 && flags&unix.FD_CLOEXEC != 0 {
			continue // this process's own
		}
		fmt.Fprintf(&out, "%d %s %s\n", fd, strings.Split(to, ":")[0], blocking(fd))
	}
	return os.WriteFile(args[0], []byte(out.String()), 0o600)
}

func blocking(fd int) string {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	switch {
	case err != nil:
		return err.Error()
	case flags&unix.O_NONBLOCK != 0:
		return "does not block"
	}
	return "blocks"
}

// manyChildren starts and stops children, some of which die, and finds nothing left of them.
func manyChildren() error {
	once := func(i int) error {
		cmd := helperCommand("serve")
		cmd.Stderr = io.Discard
		child, err := endpoint.Start(context.Background(), cmd, nil)
		if err != nil {
			return err
		}
		typ := uint64(typeEcho)
		if i%2 == 1 {
			typ = typeExit
		}
		_, err = child.Do(context.Background(), pconn.Request{Type: typ})
		if (err == nil) != (typ == typeEcho) {
			return fmt.Errorf("call %d: %v", i, err)
		}
		return child.Close()
	}
	if err := once(0); err != nil {
		return err
	}
	before, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	for i := range 30 {
		if err := once(i); err != nil {
			return err
		}
	}
	after, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	if len(after) > len(before) {
		return fmt.Errorf("%d descriptors, %d before", len(after), len(before))
	}
	files, err := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			return fmt.Errorf("children are left: %s", b)
		}
	}
	return err
}

// openTerminal returns the two sides of a pseudo terminal; the first is what a process has.
func openTerminal(t testing.TB) (terminal, other *os.File) {
	t.Helper()
	other, terminal, err := pty.Open()
	require.NoError(t, err)
	return terminal, other
}
