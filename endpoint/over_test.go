//go:build linux

package endpoint_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// A child whose connection is not its standard output may print there.
func TestOver(t *testing.T) {
	for over, want := range map[endpoint.Over]string{
		endpoint.OverPipes:  "0 file blocks\n1 pipe blocks\n2 pipe blocks\n3 pipe blocks\n4 pipe blocks\n",
		endpoint.OverSocket: "0 file blocks\n1 pipe blocks\n2 pipe blocks\n3 socket blocks\n",
	} {
		t.Run(over.String(), func(t *testing.T) {
			childtest.NoLeaks(t)
			child := start(t, &endpoint.StartOptions{Over: over, Conn: pconn.Options{Handler: pconn.HandlerFunc(echo)}}, "serve")
			payload := bytes.Repeat([]byte("over "), 100_000)
			resp, err := child.Do(t.Context(), pconn.Request{Type: typeBack, Payload: payload})
			require.NoError(t, err)
			require.True(t, bytes.Equal(payload, resp.Payload))
			resp, err = child.Do(t.Context(), pconn.Request{Type: typePrint})
			require.NoError(t, err)
			require.Equal(t, "<nil> <nil> 0 EOF", string(resp.Payload))
			resp, err = child.Do(t.Context(), pconn.Request{Type: typeEnv, Payload: []byte(endpoint.FDVariable)})
			require.NoError(t, err)
			require.Equal(t, "", string(resp.Payload), "it is not for the child's own children")
			require.NoError(t, child.Shutdown(t.Context()))
			require.Equal(t, "a stray print\nand another\n", string(child.Stderr()), "where no other place is set")

			out := filepath.Join(t.TempDir(), "out")
			child = start(t, &endpoint.StartOptions{Over: over}, "descriptors", out)
			require.NoError(t, child.Wait())
			b, err := os.ReadFile(out)
			require.NoError(t, err)
			require.Equal(t, want, describeNull(string(b)))
		})
	}
}

// describeNull calls the null device a file, as /proc has it by its path.
func describeNull(s string) string {
	return string(bytes.ReplaceAll([]byte(s), []byte("0 "+os.DevNull), []byte("0 file")))
}

// Its standard input and output are what the command says, and its other descriptors come first.
func TestOverBesideOtherDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	var stdout bytes.Buffer
	cmd := childtest.Command("serve")
	cmd.Stdin, cmd.Stdout = bytes.NewReader([]byte("x")), &stdout
	cmd.ExtraFiles = []*os.File{w}
	child := startCommand(t, &endpoint.StartOptions{Over: endpoint.OverSocket}, cmd)
	w.Close()
	_, err = child.Do(t.Context(), pconn.Request{Type: typeWriteFD, Flags: 3, Payload: []byte("hello")})
	require.NoError(t, err)
	resp, err := child.Do(t.Context(), pconn.Request{Type: typePrint})
	require.NoError(t, err)
	require.Equal(t, "<nil> <nil> 1 <nil>", string(resp.Payload))
	require.NoError(t, child.Close())
	require.Equal(t, "a stray print\nand another\n", stdout.String())
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
}

// Over a socket each end knows the other's process.
func TestOverSocketKnowsThePeer(t *testing.T) {
	childtest.NoLeaks(t)
	child := start(t, &endpoint.StartOptions{Over: endpoint.OverSocket}, "serve")
	require.Equal(t, child.PID(), child.Peer().PID)
	resp, err := child.Do(t.Context(), pconn.Request{Type: typePeer})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("pid %d uid %d", os.Getpid(), os.Getuid()), string(resp.Payload))
}

// A child that dies is known by its end of the socket, and what is below it holds up nobody.
func TestOverSocketTroubles(t *testing.T) {
	childtest.NoLeaks(t)
	opts := short(pconn.Options{})
	opts.Over = endpoint.OverSocket
	child := start(t, opts, "serve")
	_, err := child.Do(t.Context(), pconn.Request{Type: typeExit, Flags: 7, Payload: []byte("last words")})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 7, exit.Code)
	require.Equal(t, "last words", string(exit.Stderr))

	child = start(t, opts, "deaf")
	_, err = child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, endpoint.StepTerm, childtest.ExitOf(t, child.Close()).Step)
}

func TestFDVariableIsChecked(t *testing.T) {
	childtest.NoLeaks(t)
	for value, text := range map[string]string{
		"three": `PACKETSTREAM_FD: "three" is no descriptor`,
		"77,78": "PACKETSTREAM_FD=77,78: ",
	} {
		cmd := childtest.Command("serve")
		cmd.Env = append(cmd.Env, endpoint.FDVariable+"="+value)
		out, code := output(cmd)
		require.Equal(t, 1, code)
		require.Contains(t, out, text)
	}
	// One that was meant for this process is not passed on to a child that has its standard ones.
	t.Setenv(endpoint.FDVariable, "77,78")
	child := startCommand(t, nil, childtest.Command("serve"))
	_, err := child.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, child.Close())
}

func TestChecksum(t *testing.T) {
	childtest.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 3\n"), 0o700))
	const sum = "2C8FA2A9B3E2E5F6"
	_, err := endpoint.Start(t.Context(), exec.Command(path), &endpoint.StartOptions{SHA256: sum})
	var wrong *endpoint.ChecksumError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, sum, wrong.Want)
	require.ErrorContains(t, err, "it was not started")

	child := startCommand(t, &endpoint.StartOptions{SHA256: wrong.Got}, exec.Command(path))
	_, err = child.Do(t.Context(), pconn.Request{})
	require.Equal(t, 3, childtest.ExitOf(t, err).Code)
	_, err = endpoint.Start(t.Context(), exec.Command("/no/such/program"), &endpoint.StartOptions{SHA256: sum})
	require.ErrorIs(t, err, os.ErrNotExist)
}
