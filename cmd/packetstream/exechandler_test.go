//go:build unix

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestServeExec(t *testing.T) {
	for name, tc := range map[string]struct {
		handler string
		code    int
		stdout  string
		stderr  string // a part of it
	}{
		"payload in, output out": {"exec:tr a-z A-Z", exitOK, "HELLO\n", ""},
		"environment":            {`exec:echo "$PACKETSTREAM_TYPE $PACKETSTREAM_FLAGS"`, exitOK, "300 5\n\n", ""},
		"payload not read":       {"exec:echo unread", exitOK, "unread\n\n", ""},
		"no output":              {"exec:true", exitOK, "\n", ""},
		"warnings":               {"exec:echo careful >&2; echo fine", exitOK, "fine\n\n", ""},
		"failure":                {"exec:echo partly; echo oops >&2; exit 7", exitFailed, "", "rejected: the command failed: exit status 7: oops"},
		"no such command":        {"exec:/nonexistent/command", exitFailed, "", "rejected: the command failed: exit status 127"},
		"killed":                 {"exec:kill -9 $$", exitFailed, "", "rejected: the command failed: signal: killed"},
		"the end of its stderr":  {"exec:seq 1 100000 >&2; echo the end >&2; exit 1", exitFailed, "", "\n99999\n100000\nthe end\n"},
		"endless output":         {"exec:yes", exitFailed, "", "rejected: the command's output is over the limit of 16777216 bytes"},
		"endless and stubborn":   {"exec:trap '' TERM PIPE; yes; while :; do yes; done", exitFailed, "", "over the limit of 16777216 bytes"},
		"output held":            {"exec:sleep 3 & echo hi", exitFailed, "", "rejected: the command failed: exec: WaitDelay expired before I/O complete"},
		"background":             {"exec:sleep 3 >/dev/null 2>&1 & echo hi", exitOK, "hi\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := packetstream(t, "call", "--type=300", "--flags=5", "--payload=hello", "--", self(t), "serve", "--handler", tc.handler)
			assert.Equal(t, tc.code, r.code, r.stderr)
			assert.Equal(t, tc.stdout, r.stdout)
			assert.Contains(t, r.stderr, tc.stderr)
			assert.LessOrEqual(t, len(r.stderr), 1<<10+100)
		})
	}
}

func TestServeExecLargestOutput(t *testing.T) {
	r := packetstream(t, "call", "--", self(t), "serve", "--handler", "exec:head -c 16777216 /dev/zero")
	assert.Equal(t, exitOK, r.code)
	assert.Len(t, r.stdout, 16<<20+1)
}
