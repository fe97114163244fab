//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// callSelf runs packetstream call with flags against a child that serves the test service.
func callSelf(t testing.TB, flags ...string) ran {
	t.Helper()
	return packetstream(t, append(append([]string{"call"}, flags...), "--", self(t), "serve", "--handler", "test")...)
}

// callShell runs packetstream call with flags against a shell script.
func callShell(t testing.TB, script string, flags ...string) ran {
	t.Helper()
	return packetstream(t, append(append([]string{"call"}, flags...), "--", "sh", "-c", script)...)
}

func TestCallPrintsPayloads(t *testing.T) {
	for name, tc := range map[string]struct {
		flags          []string
		stdout, stderr string
	}{
		"nothing":          {nil, "\n", ""},
		"bytes":            {[]string{"--type", "2", "--payload", "a\xff\nb"}, "a\xff\nb\n", ""},
		"flags":            {[]string{"--type", "1", "--flags", "0x123"}, "\n", "request 0: flags 0x123\n"},
		"flags and bytes":  {[]string{"--type=4", "--flags=5", "--payload=x"}, "x\n", "request 0: flags 0x5\n"},
		"several":          {[]string{"--type=2", "--payload=x", "--count=3"}, "x\nx\nx\n", ""},
		"none":             {[]string{"--count=0"}, "", ""},
		"several at once":  {[]string{"--type=2", "--payload=x", "--count=5", "--in-flight=3"}, "x\nx\nx\nx\nx\n", ""},
		"with a timeout":   {[]string{"--type=2", "--payload=x", "--timeout=20s"}, "x\n", ""},
		"with a grace":     {[]string{"--type=2", "--payload=x", "--grace=1ms"}, "x\n", ""},
		"progress, piped":  {[]string{"--type=6", "--payload=500", "--progress"}, "500\n", ""},
		"the longest flag": {[]string{"--type=1", "--flags=0x1fffffffffffffff"}, "\n", "request 0: flags 0x1fffffffffffffff\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := callSelf(t, tc.flags...)
			assert.Equal(t, ran{exitOK, tc.stdout, tc.stderr}, r)
		})
	}
}

func TestCallReadsPayloadFromInput(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16) // 1 MiB
	cmd := command(t, "call", "--type", "2", "--payload", "-", "--", self(t), "serve", "--handler", "test")
	cmd.Stdin = bytes.NewReader(payload)
	r := runs(t, cmd)
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.True(t, r.stdout == string(payload)+"\n", "the payload came back")

	cmd = command(t, "call", "--payload", "-", "--", self(t), "serve")
	cmd.Stdin = bytes.NewReader(make([]byte, 16<<20+1))
	r = runs(t, cmd)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "over the limit of 16777216 bytes")
}

// line is what the help of call says of a line of --json.
type line struct {
	N        *int     `json:"n"`
	OK       *bool    `json:"ok"`
	Type     *uint64  `json:"type"`
	Flags    *uint64  `json:"flags"`
	Payload  *string  `json:"payload"`
	Encoding *string  `json:"encoding"`
	MS       *float64 `json:"ms"`
	Error    *string  `json:"error"`
}

// jsonLines decodes lines of --json that have no other fields than line has.
func jsonLines(t testing.TB, stdout string) []line {
	t.Helper()
	var lines []line
	for text := range strings.Lines(stdout) {
		var l line
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&l), text)
		lines = append(lines, l)
	}
	return lines
}

func TestCallJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		flags []string
		code  int
		want  string // without ms
	}{
		"empty":        {nil, exitOK, `{"n":0,"ok":true,"type":0,"flags":0,"payload":"","encoding":"utf-8"`},
		"text":         {[]string{"--type=3", "--payload=<naïve>&"}, exitOK, `{"n":0,"ok":true,"type":3,"flags":0,"payload":"<naïve>&","encoding":"utf-8"`},
		"bytes":        {[]string{"--type=2", "--payload=a\xff"}, exitOK, `{"n":0,"ok":true,"type":2,"flags":0,"payload":"Yf8=","encoding":"base64"`},
		"flags":        {[]string{"--type=1", "--flags=7"}, exitOK, `{"n":0,"ok":true,"type":1,"flags":7,"payload":"","encoding":"utf-8"`},
		"rejection":    {[]string{"--type=5"}, exitFailed, `{"n":0,"ok":false,"type":5,"flags":0,"payload":"exception during handler","encoding":"utf-8"`},
		"control text": {[]string{"--type=2", "--payload=\x1b[31m\n"}, exitOK, `{"n":0,"ok":true,"type":2,"flags":0,"payload":"\u001b[31m\n","encoding":"utf-8"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := callSelf(t, append(tc.flags, "--json")...)
			assert.Equal(t, tc.code, r.code)
			assert.Empty(t, r.stderr)
			assert.Regexp(t, `^\{.*,"ms":[0-9.]+\}\n$`, r.stdout)
			before, _, _ := strings.Cut(r.stdout, `,"ms":`)
			assert.Equal(t, tc.want, before)
			l := jsonLines(t, r.stdout)[0]
			if *l.Encoding == "base64" {
				b, err := base64.StdEncoding.DecodeString(*l.Payload)
				require.NoError(t, err)
				assert.Equal(t, "a\xff", string(b))
			}
			assert.Nil(t, l.Error)
		})
	}
}

func TestJSONSchemaIsInTheHelp(t *testing.T) {
	help := packetstream(t, "help", "call").stdout
	_, after, found := strings.Cut(help, "\n  {\"n\":0")
	require.True(t, found)
	example, _, _ := strings.Cut(after, "\n")
	l := jsonLines(t, "{\"n\":0"+example)[0]
	for name, field := range map[string]bool{"n": l.N != nil, "ok": l.OK != nil, "type": l.Type != nil, "flags": l.Flags != nil,
		"payload": l.Payload != nil, "encoding": l.Encoding != nil, "ms": l.MS != nil} {
		assert.True(t, field, "the example has %s", name)
		assert.Contains(t, help, "\n  "+name+" ")
	}
	assert.Contains(t, help, "\n  error ")
}

// An answer that is larger than this end takes costs its own request only.
func TestCallAnswerTooLarge(t *testing.T) {
	big := 16<<20 + 1
	peer := fmt.Sprintf("head -c %d /dev/zero", big)
	r := packetstream(t, "call", "--", self(t), "serve", "--handler", "exec:"+peer)
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stderr, "over the limit of 16777216 bytes")
}

// Answers are printed in the order of the requests, whatever the order in which they come.
func TestCallKeepsOrder(t *testing.T) {
	// The first command to make the directory answers last.
	dir := filepath.Join(t.TempDir(), "first")
	script := fmt.Sprintf("exec:if mkdir %s; then while [ ! -e %[1]s/go ]; do sleep 0.01; done; echo slow; else touch %[1]s/go; echo quick; fi 2>/dev/null", dir)
	r := packetstream(t, "call", "--count", "8", "--in-flight", "8", "--json", "--", self(t), "serve", "--handler", script)
	require.Equal(t, exitOK, r.code, r.stderr)
	lines := jsonLines(t, r.stdout)
	require.Len(t, lines, 8)
	for i, l := range lines {
		assert.Equal(t, i, *l.N)
	}
	assert.Equal(t, 1, strings.Count(r.stdout, "slow"))
	assert.Equal(t, 7, strings.Count(r.stdout, "quick"))
}

// --in-flight is how many requests are at work at a time, no more and no fewer.
func TestCallInFlight(t *testing.T) {
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	script := fmt.Sprintf("exec:touch %s/$$; while [ ! -e %s ]; do sleep 0.01; done", dir, ready)
	cmd := command(t, "call", "--count", "7", "--in-flight", "3", "--", self(t), "serve", "--handler", script)
	require.NoError(t, cmd.Start())
	begun := func() int {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(files)
	}
	eventually(t, "three at work", func() bool { return begun() >= 3 })
	time.Sleep(50 * time.Millisecond) // for what must not happen there is nothing to wait for
	assert.Equal(t, 3, begun())
	require.NoError(t, os.WriteFile(ready, nil, 0o600))
	require.NoError(t, cmd.Wait())
	assert.Equal(t, 7+1, begun())
}

// Each answer is printed as soon as it is there, and its predecessors.
func TestCallPrintsAtOnce(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	script := fmt.Sprintf("exec:if [ -e %s.first ]; then while [ ! -e %[1]s ]; do sleep 0.01; done; fi; touch %[1]s.first; echo x", ready)
	cmd := command(t, "call", "--count", "2", "--", self(t), "serve", "--handler", script)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	out := bufio.NewScanner(stdout)
	require.True(t, out.Scan(), "the first answer is there before the second is given")
	require.NoError(t, os.WriteFile(ready, nil, 0o600))
	for out.Scan() {
	}
	require.NoError(t, cmd.Wait())
}

func TestCallWithMetadata(t *testing.T) {
	r := packetstream(t, "call", "--payload=x", "--meta=user=ada", "--meta", "k=a=b", "--timeout=20s", "--", self(t), "serve")
	assert.Equal(t, ran{exitOK, "x\n", "request 0: user=ada\nrequest 0: k=a=b\n"}, r)
	r = packetstream(t, "call", "--payload=x", "--meta=user=ada", "--json", "--", self(t), "serve")
	assert.Contains(t, r.stdout, `"metadata":[["user","ada"]]`)
	r = packetstream(t, "call", "--meta=user=ada", "--", self(t), "serve", "--extensions=off")
	assert.NotEqual(t, exitOK, r.code)
	assert.Contains(t, r.stderr, "peer has no extensions")
	r = packetstream(t, "call", "--extensions=required", "--", self(t), "serve", "--extensions=off")
	assert.NotEqual(t, exitOK, r.code)
	assert.Contains(t, r.stderr, "peer has no extensions")
	for _, how := range []string{"lazy", "off", "offer", "required"} {
		r = packetstream(t, "call", "--payload=x", "--extensions", how, "--", self(t), "serve")
		assert.Equal(t, ran{exitOK, "x\n", ""}, r, how)
	}
	r = packetstream(t, "call", "--meta=user", "--", self(t), "serve")
	assert.Equal(t, exitUsage, r.code)
	r = packetstream(t, "call", "--extensions=perhaps", "--", self(t), "serve")
	assert.Equal(t, exitUsage, r.code)
}
