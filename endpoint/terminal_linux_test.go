package endpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
)

// Where there is a terminal ssh may ask there: it is in the foreground group, and is not stopped when it reads.
func TestSSHAsksAtTheTerminal(t *testing.T) {
	childtest.NoLeaks(t)
	dir := t.TempDir()
	fake := "#!/bin/sh\nprintf 'password: ' >/dev/tty; read answer </dev/tty; echo \"$answer\" >" + dir + "/answer\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte(fake), 0o700))
	terminal, other := openTerminal(t)
	defer other.Close()
	cmd := childtest.Command("serve endpoint", "ssh:host//helper")
	cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stdin = terminal
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	prompt := make([]byte, 100)
	n, err := other.Read(prompt)
	require.NoError(t, err)
	require.Equal(t, "password: ", string(prompt[:n]))
	_, err = other.Write([]byte("secret\n"))
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), stderr.String())
	answer, err := os.ReadFile(dir + "/answer")
	require.NoError(t, err)
	require.Equal(t, "secret\n", string(answer))
}
