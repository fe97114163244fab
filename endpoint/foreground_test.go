//go:build linux

package endpoint_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// askAtTerminal asks for a password as ssh does, and serves it.
func askAtTerminal() error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fmt.Fprint(tty, "password: ")
	line, err := bufio.NewReader(tty).ReadString('\n')
	if err != nil {
		return err
	}
	return endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: pconn.HandlerFunc(
		func(context.Context, *pconn.Request) (pconn.Reply, error) {
			return pconn.Text(strings.TrimSpace(line)), nil
		})})
}

// terminalHost starts a child that asks at the terminal, and tells what became of it.
func terminalHost(args []string) error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // not ignored, which the child would inherit
	child, err := endpoint.Start(context.Background(), childtest.Command("ask at terminal"), &endpoint.StartOptions{
		Foreground: args[0] == "foreground",
		Stop:       endpoint.Stop{EOF: 300 * time.Millisecond, Term: 300 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() {
		resp, err := child.Do(context.Background(), pconn.Request{})
		fmt.Printf("answer %q\n", resp.Payload)
		answer <- err
	}()
	stopped := time.NewTicker(10 * time.Millisecond)
	defer stopped.Stop()
	for {
		select {
		case err := <-answer:
			var exit *endpoint.ExitError
			if errors.As(err, &exit) {
				fmt.Printf("ended by %v\n", exit.Signal)
			}
			return child.Close()
		case <-stopped.C:
			if childtest.State(child.PID()) == "T" {
				fmt.Println("it is stopped")
				return child.Close()
			}
		}
	}
}

func TestForeground(t *testing.T) {
	for name, test := range map[string]struct {
		mode, typed, want string
	}{
		"asks":           {"foreground", "secret\n", `answer "secret"`},
		"is interrupted": {"foreground", "\x03", "ended by interrupt"},
		"in background":  {"background", "", "it is stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			cmd := childtest.Command("terminal host", test.mode)
			terminal, err := pty.Start(cmd)
			require.NoError(t, err)
			defer terminal.Close()
			late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }) // then the text is missing
			defer late.Stop()
			var seen strings.Builder
			buf := make([]byte, 1024)
			for typed := false; ; {
				n, err := terminal.Read(buf)
				seen.Write(buf[:n])
				if !typed && strings.Contains(seen.String(), "password: ") {
					typed = true
					_, err := terminal.WriteString(test.typed)
					require.NoError(t, err)
				}
				if err != nil {
					break // the other side is closed
				}
			}
			_ = cmd.Wait() // what it printed tells
			require.Contains(t, seen.String(), test.want)
		})
	}
}

// Signals are for a child in the foreground alone, not for this process's group.
func TestForegroundIsStoppedAlone(t *testing.T) {
	childtest.NoLeaks(t)
	opts := short(pconn.Options{})
	opts.Foreground = true
	for mode, sig := range map[string]os.Signal{"deaf": syscall.SIGTERM, "deaf and stubborn": syscall.SIGKILL} {
		child := start(t, opts, mode)
		resp, err := child.Do(t.Context(), pconn.Request{Type: typeInspect})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("pid %d pgid %d", child.PID(), syscall.Getpgrp()), string(resp.Payload))
		require.Equal(t, sig, childtest.ExitOf(t, child.Close()).Signal)
	}
	own := exec.Command("true")
	own.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	_, err := endpoint.Start(t.Context(), own, opts)
	require.ErrorContains(t, err, "foreground")
}
