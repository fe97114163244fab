//go:build linux

package pool_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestMain(m *testing.M) {
	if mode := childtest.Mode(); mode != "" {
		child(mode)
	}
	goleak.VerifyTestMain(m)
}

// What a child answers.
const (
	typeEcho   = 0
	typePID    = 1
	typeExit   = 2 // exits with the flags as its status, without an answer
	typeSleep  = 3 // answers with its process after so many milliseconds as the flags say
	typeGoAway = 5 // takes no more requests
	typeFile   = 4 // exits, without an answer, if it can remove the file that the payload names
)

// child serves, or exits while a file named by the mode is there.
func child(mode string) {
	if _, err := os.Stat(mode); err == nil {
		fmt.Fprintln(os.Stderr, "out of order")
		os.Exit(9)
	}
	pid := func() pconn.Reply { return pconn.Text(strconv.Itoa(os.Getpid())) }
	mux := pconn.NewMux()
	mux.HandleFunc(typeEcho, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(req.Payload), nil })
	mux.HandleFunc(typePID, func(context.Context, *pconn.Request) (pconn.Reply, error) { return pid(), nil })
	mux.HandleFunc(typeExit, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		fmt.Fprint(os.Stderr, "told to")
		os.Exit(int(req.Flags))
		return pconn.None(), nil
	})
	mux.HandleFunc(typeSleep, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		timer := time.NewTimer(time.Duration(req.Flags) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return pid(), nil
		case <-ctx.Done():
			return pconn.None(), ctx.Err()
		}
	})
	mux.HandleFunc(typeFile, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if os.Remove(string(req.Payload)) == nil {
			os.Exit(1)
		}
		return pid(), nil
	})
	mux.HandleFunc(typeGoAway, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.None(), req.Conn.GoAway(ctx, 1, "tired")
	})
	conn, err := endpoint.Stdio{}.Dial(context.Background(), &pconn.Options{Handler: mux})
	if err == nil {
		err = serveUpper(conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveUpper answers each line of each stream to "upper" in capital letters, until the connection ends.
func serveUpper(conn *endpoint.Conn) error {
	l, err := conn.Listen("upper")
	if err != nil {
		return conn.Wait() // it has ended already
	}
	go func() {
		for {
			stream, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for lines := bufio.NewScanner(stream); lines.Scan(); {
					fmt.Fprintln(stream, strings.ToUpper(lines.Text()))
				}
			}()
		}
	}()
	return conn.Wait()
}

// command returns the command of children that exit at once while the file is there.
func command(file string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := childtest.Command(file)
		cmd.Stderr = io.Discard
		return cmd
	}
}

// start starts a pool that is closed when the test ends, after which nothing is left of it.
func start(t testing.TB, opts pool.Options) *pool.Pool {
	t.Helper()
	return startFile(t, filepath.Join(t.TempDir(), "out of order"), opts)
}

func startFile(t testing.TB, file string, opts pool.Options) *pool.Pool {
	t.Helper()
	childtest.NoLeaks(t)
	if opts.Start.Stop == (endpoint.Stop{}) {
		opts.Start.Stop = endpoint.Stop{EOF: time.Second, Term: 300 * time.Millisecond, Kill: 300 * time.Millisecond}
	}
	if opts.MinDelay == 0 {
		opts.MinDelay, opts.MaxDelay = time.Millisecond, 20*time.Millisecond
	}
	p, err := pool.Start(t.Context(), command(file), &opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() }) // how the children ended is each test's
	return p
}

// pidOf asks for the process that answers.
func pidOf(t testing.TB, p *pool.Pool) int {
	t.Helper()
	resp, err := p.Do(childtest.Soon(t), pconn.Request{Type: typePID, Idempotent: true})
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(resp.Payload))
	require.NoError(t, err)
	return pid
}

// stopProcess stops a process as Ctrl-Z does, and waits until it is.
func stopProcess(t testing.TB, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	childtest.AwaitState(t, pid, "T")
}
