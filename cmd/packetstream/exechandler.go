package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

const (
	// execErrorText is how many bytes of a failed command's standard error its rejection carries, the last
	// ones. With the exit status they stay under the 1 KiB that an error's text may have.
	execErrorText = 900

	// execMaxOutput is how many bytes a command may write as its answer, as many as an answer may carry.
	execMaxOutput = pconn.DefaultMaxPayload

	// execLinger is how long what a command has started may hold its output after it has ended itself.
	execLinger = time.Second
)

func shellCommand(command string) []string { return []string{"/bin/sh", "-c", command} }

// execHandler runs a shell command for each request. The command, and what it started, ends with the request's
// context.
func execHandler(command string) pconn.Handler {
	return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		args := shellCommand(command)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(),
			fmt.Sprintf("PACKETSTREAM_TYPE=%d", req.Type), fmt.Sprintf("PACKETSTREAM_FLAGS=%d", req.Flags))
		cmd.Stdin = bytes.NewReader(req.Payload)
		stdout, stderr := &answerBuffer{max: execMaxOutput, over: cancel}, &tailBuffer{max: execErrorText}
		cmd.Stdout, cmd.Stderr = stdout, stderr
		cmd.WaitDelay = execLinger
		killGroup(cmd)
		defer endWithUs(cmd)()
		err := cmd.Run()
		switch {
		case stdout.isOver:
			return pconn.Reply{}, pconn.Errorf("the command's output is over the limit of %d bytes", stdout.max)
		case err != nil:
			if text := bytes.TrimSpace(stderr.buf); len(text) > 0 {
				err = fmt.Errorf("%w: %s", err, text)
			}
			return pconn.Reply{}, pconn.Errorf("the command failed: %w", err)
		}
		return pconn.Bytes(stdout.buf), nil
	})
}

// answerBuffer keeps up to max bytes, and calls over when there are more.
type answerBuffer struct {
	buf    []byte
	max    int
	over   func()
	isOver bool
}

func (b *answerBuffer) Write(p []byte) (int, error) {
	if len(p) > b.max-len(b.buf) {
		b.isOver = true
		b.over()
		return len(p), nil // what comes until the command is killed is thrown away
	}
	b.buf = append(b.buf, p...)
	return len(p), nil
}

// tailBuffer keeps the last max bytes.
type tailBuffer struct {
	buf []byte
	max int
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-b.max):]
	keep := min(len(b.buf), b.max-len(p))
	b.buf = append(b.buf[:copy(b.buf, b.buf[len(b.buf)-keep:])], p...)
	return n, nil
}
