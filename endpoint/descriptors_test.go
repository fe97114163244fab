//go:build linux

package endpoint_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
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
func manyChildren(args []string) error {
	once := func(i int) error {
		cmd := childtest.Command("serve")
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
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var before remains
	for i := range n {
		if i == n/10 { // what there is for good has come by then
			before = remaining()
		}
		if err := once(i); err != nil {
			return err
		}
	}
	after := remaining()
	fmt.Fprintf(os.Stderr, "after %d children: %+v, after %d: %+v\n", n/10, before, n, after)
	switch {
	case after.descriptors > before.descriptors, after.goroutines > before.goroutines, after.children > 0:
		return fmt.Errorf("not flat: %+v, before %+v", after, before)
	case after.heap > before.heap+1<<20, n >= settled && !raceDetector && after.memory > before.memory+8<<20:
		return fmt.Errorf("memory is not flat: %+v, before %+v", after, before)
	}
	return nil
}

// settled is how many children it takes until the system's view of this process's memory has a steady state to
// compare with, after a tenth of them.
const settled = 1000

// remains is what a process has that starts children.
type remains struct {
	descriptors, goroutines, children int
	heap, memory                      int // in bytes
}

func remaining() remains {
	var r remains
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.heap, r.goroutines = int(m.HeapAlloc), runtime.NumGoroutine()
	fds, _ := filepath.Glob("/proc/self/fd/*")
	r.descriptors = len(fds)
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		r.children += len(strings.Fields(string(b)))
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
		r.memory = pages * os.Getpagesize()
	}
	return r
}

// openTerminal returns the two sides of a pseudo terminal; the first is what a process has.
func openTerminal(t testing.TB) (terminal, other *os.File) {
	t.Helper()
	other, terminal, err := pty.Open()
	require.NoError(t, err)
	return terminal, other
}
