//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
)

func TestCheck(t *testing.T) {
	for _, mode := range []string{"seq", "pipelined", "duplex"} {
		t.Run(mode, func(t *testing.T) {
			r := packetstream(t, "check", "--mode", mode, "--requests=100", "--window=8", "--grace=1ms", "--", self(t), "serve", "--handler", "test")
			assert.Equal(t, exitOK, r.code, r.stdout)
			assert.Empty(t, r.stderr)
			assert.NotContains(t, r.stdout, "FAIL")
			for _, x := range exchanges() {
				assert.Contains(t, r.stdout, "ok   "+x.name+"\n")
			}
			assert.Contains(t, r.stdout, "ok   100 requests, "+mode+"\n")
			assert.Contains(t, r.stdout, " requests/s\n")
		})
	}
}

// Every kind of request is made both ways.
func TestExchangesGoBothWays(t *testing.T) {
	names := make(map[string]bool)
	for _, x := range exchanges() {
		assert.False(t, names[x.name], x.name)
		names[x.name] = true
	}
	for _, x := range ownExchanges() {
		assert.True(t, names["asked back: "+x.name], x.name)
	}
}

// checked is the outcome of checking the test binary as another program.
func checked(t *testing.T, as string) ran {
	t.Helper()
	return runs(t, command(t, "check", "--requests=10", "--", "env", asVariable+"="+as, self(t)))
}

func TestCheckFindsDifference(t *testing.T) {
	r := checked(t, "wrong")
	assert.Equal(t, exitFailed, r.code)
	assert.Empty(t, r.stderr)
	assert.Contains(t, r.stdout, `FAIL flags: got (true, 0x1235, ""), want (true, 0x1234, "")`+"\n")
	assert.Contains(t, r.stdout, "ok   flags zero\n")
	assert.True(t, strings.HasSuffix(r.stdout, "\n1 failed\n"), r.stdout)
}

func TestCheckFindsAnswersInOrder(t *testing.T) {
	t.Parallel()
	r := checked(t, "ordered")
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stdout, "FAIL out of order: the slow answer came first\n")
}

func TestCheckNeedsTheTestService(t *testing.T) {
	r := packetstream(t, "check", "--requests=10", "--mode=duplex", "--", self(t), "serve", "--handler", "echo")
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stdout, "FAIL none: ")
	assert.Contains(t, r.stdout, "FAIL 10 requests, duplex: request ")
}

func TestCheckLosesConnection(t *testing.T) {
	r := packetstream(t, "check", "--", "sh", "-c", "echo oops >&2; exit 3")
	assert.Equal(t, exitLost, r.code)
	assert.Equal(t, 1, strings.Count(r.stdout, "FAIL"), "the rest is not tried: %s", r.stdout)
	assert.Contains(t, r.stderr, "exit status 3")

	r = packetstream(t, "check", "--timeout=200ms", "--", "sh", "-c", "while read -r x; do :; done")
	assert.Equal(t, exitTimeout, r.code)
	assert.Equal(t, "packetstream: time was up after 200ms\n", r.stderr)
}

func TestCheckInterrupted(t *testing.T) {
	at := t.TempDir() + "/started"
	cmd := command(t, "check", "--", "sh", "-c", "touch '"+at+"'; while read -r x; do :; done")
	require.NoError(t, cmd.Start())
	waitForFile(t, at)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, exitInterrupted, exitStatus(t, cmd.Wait()))
}

func TestCheckClosedOutput(t *testing.T) {
	r, w, _ := pipe(t)
	require.NoError(t, r.Close())
	defer w.Close()
	cmd := command(t, "check", "--requests=1000000000", "--timeout=0", "--", self(t), "serve", "--handler", "test")
	cmd.Stdout = w
	assert.Equal(t, ran{code: exitOK}, runs(t, cmd))
}

func TestDemo(t *testing.T) {
	r := packetstream(t, "demo")
	assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)
	assert.NotContains(t, r.stdout, "FAIL")
	assert.Contains(t, r.stdout, "ok   10000 requests, pipelined\n")
	assert.Contains(t, r.stdout, " requests/s\n")
	assert.True(t, strings.HasSuffix(r.stdout, "\nall answers as expected\n"))
	assert.Regexp(t, `^[<>FEO]+\n$`, r.stderr, "ticks of both ends")
}

func TestDemoFindsDifference(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	var out bytes.Buffer
	t.Setenv(asVariable, "wrong")
	err := demo(ctx, endpoint.Exec{Args: []string{self(t)}}, &out)
	assert.Equal(t, exitFailed, exitCode(err), "%v", err)
	assert.Contains(t, out.String(), "FAIL flags: ")
	assert.NotContains(t, out.String(), "all answers as expected")
}

func TestDemoLosesPeer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	err := demo(ctx, endpoint.Exec{Args: []string{"false"}}, new(bytes.Buffer))
	assert.Equal(t, exitLost, exitCode(err), "%v", err)
}

// hangUp waits for a peer that does not end, but not for ever.
func TestHangUpEnds(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := packetstream(t, "call", "--count=0", "--", "sh", "-c", fmt.Sprintf("trap '' TERM; sleep %d", int(timeLimit.Seconds())))
	assert.NotEqual(t, exitOK, r.code)
	assert.Less(t, time.Since(began), timeLimit/2)
	assert.NotEmpty(t, r.stderr)
}
