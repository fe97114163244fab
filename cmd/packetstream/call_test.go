//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
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

func TestCallRejected(t *testing.T) {
	for name, tc := range map[string]struct{ handler, want string }{
		"text":          {"exec:echo no such thing >&2; exit 3", "packetstream: request 0 rejected: the command failed: exit status 3: no such thing\n"},
		"terminal text": {`exec:printf '\033[31mred' >&2; exit 1`, `packetstream: request 0 rejected: "the command failed: exit status 1: \x1b[31mred"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := packetstream(t, "call", "--", self(t), "serve", "--handler", tc.handler)
			assert.Equal(t, ran{exitFailed, "", tc.want}, r)
		})
	}
	t.Run("some of several", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count", "3", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" && echo done")
		assert.Equal(t, exitFailed, r.code)
		assertLines(t, r.stdout, "done", "")
		assert.Equal(t, 2, strings.Count(r.stderr, " rejected: "))
		assert.Contains(t, r.stderr, "request 1 rejected")
		assert.Contains(t, r.stderr, "request 2 rejected")
	})
}

func TestCallLosesConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   []string
	}{
		"child exits":           {"echo oops >&2; exit 7", []string{"exit status 7", "oops"}},
		"child is killed":       {"echo help >&2; kill -9 $$", []string{"signal: killed", "help"}},
		"child exits well":      {"exit 0", []string{"exit status 0"}},
		"child prints text":     {"echo Usage: something else", []string{"Usage: something else"}},
		"child prints and goes": {"printf 'Connecting to'; exit 4", []string{"text instead of packets", "Connecting to", "exit status 4"}},
		"child sends garbage":   {`printf '\003\000\002'; exit 5`, []string{"inside a packet", "exit status 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := callShell(t, tc.script)
			assert.Equal(t, exitLost, r.code)
			assert.Empty(t, r.stdout)
			for _, want := range tc.want {
				assert.Contains(t, r.stderr, want)
			}
			// Its standard error is passed through besides.
			assert.Equal(t, 1, strings.Count(r.stderr, "packetstream: "), r.stderr)
		})
	}
	t.Run("in the middle", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count", "1000", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" && echo first || kill -9 $PPID")
		assert.Equal(t, exitLost, r.code)
		assertLines(t, r.stdout, "first", "")
		assert.Contains(t, r.stderr, "signal: killed")
	})
	t.Run("after the last answer", func(t *testing.T) {
		r := callShell(t, `"$0" serve --handler test; exit 6`, "--type=2", "--payload=x", "--count=1")
		assert.Equal(t, exitLost, r.code)
	})
	t.Run("nobody there", func(t *testing.T) {
		r := packetstream(t, "call", "unix:"+filepath.Join(t.TempDir(), "none"))
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "no such file or directory")
	})
	t.Run("no such command", func(t *testing.T) {
		r := packetstream(t, "call", "--", filepath.Join(t.TempDir(), "none"))
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "no such file or directory")
	})
	t.Run("no such descriptor", func(t *testing.T) {
		r := packetstream(t, "call", "fd:77,78")
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "77")
	})
}

// A child whose answers are fine and whose end is not is told of, with the answers printed.
func TestCallChildEndsBadly(t *testing.T) {
	script := `"$0" serve --handler test; echo sorry >&2; exit 6`
	r := packetstream(t, "call", "--type=2", "--payload=x", "--", "sh", "-c", script, self(t))
	assert.Equal(t, exitLost, r.code)
	assertLines(t, r.stdout, "x")
	assert.Contains(t, r.stderr, "exit status 6")
	assert.Contains(t, r.stderr, "sorry")

	r = packetstream(t, "call", "--type=5", "--", "sh", "-c", script, self(t))
	assert.Equal(t, exitFailed, r.code, "the rejection counts")
	assert.Contains(t, r.stderr, "rejected: exception during handler")
	assert.Contains(t, r.stderr, "exit status 6")
}

func TestCallTimeout(t *testing.T) {
	t.Parallel()
	t.Run("no answer", func(t *testing.T) {
		r := callSelf(t, "--type=6", "--payload=700", "--timeout=200ms")
		assert.Equal(t, ran{exitTimeout, "", "packetstream: time was up after 200ms\n"}, r)
	})
	t.Run("text instead of packets", func(t *testing.T) {
		// It reads as the start of a request of 67 bytes.
		r := callShell(t, "printf 'Connecting to nowhere'; while read -r x; do :; done", "--timeout=300ms")
		assert.Equal(t, exitTimeout, r.code)
		assert.Empty(t, r.stdout)
		assertLines(t, r.stderr, `packetstream: time was up after 300ms; the peer sent text instead of packets: "Connecting to nowhere"`)
	})
	t.Run("no payload", func(t *testing.T) {
		in, _, closeIn := pipe(t)
		defer closeIn()
		cmd := command(t, "call", "--payload=-", "--timeout=100ms", "--", self(t), "serve")
		cmd.Stdin = in
		assert.Equal(t, ran{exitTimeout, "", "packetstream: time was up after 100ms\n"}, runs(t, cmd))
	})
	t.Run("some answers", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count=3", "--timeout=1s", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" || sleep 2")
		assert.Equal(t, exitTimeout, r.code)
		assertLines(t, r.stdout, "")
	})
	t.Run("nobody accepts", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		r := packetstream(t, "call", "--timeout=100ms", "tcp:"+l.Addr().String())
		assert.Equal(t, exitTimeout, r.code)
	})
}

func pipe(t testing.TB) (r, w *os.File, closeBoth func()) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	return r, w, func() {
		_ = r.Close()
		_ = w.Close()
	}
}

func TestCallInterrupted(t *testing.T) {
	t.Run("in a call", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "at work")
		cmd := command(t, "call", "--", self(t), "serve", "--handler", "exec:touch '"+at+"'; sleep 1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		waitForFile(t, at)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, exitInterrupted, exitStatus(t, cmd.Wait()))
		assert.Equal(t, "packetstream: interrupted\n", stderr.String())
	})
}

func waitForFile(t testing.TB, path string) {
	t.Helper()
	eventually(t, path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// A reader of the output that has had enough is no failure, and ends the rest.
func TestCallClosedOutput(t *testing.T) {
	for _, form := range [][]string{nil, {"--json"}} {
		r, w, _ := pipe(t)
		require.NoError(t, r.Close())
		cmd := command(t, append(append([]string{"call", "--count=1000000000", "--in-flight=4"}, form...), "--", self(t), "serve")...)
		cmd.Stdout = w
		got := runs(t, cmd)
		require.NoError(t, w.Close())
		assert.Equal(t, ran{code: exitOK}, got)
	}
	r, w, _ := pipe(t)
	require.NoError(t, r.Close())
	defer w.Close()
	cmd := command(t, "help")
	cmd.Stdout = w
	assert.Equal(t, ran{code: exitOK}, runs(t, cmd))
}

func TestCallFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	cmd := command(t, "call", "--", self(t), "serve")
	cmd.Stdout = full
	r := runs(t, cmd)
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stderr, "standard output: ")
	assert.Contains(t, r.stderr, "no space left on device")
}

// A peer that no longer reads is a lost connection, and not taken for a closed standard output.
func TestCallPeerStopsReading(t *testing.T) {
	r := callShell(t, "exec <&-; sleep 1", "--payload="+strings.Repeat("x", 100000), "--timeout=20s")
	assert.Equal(t, exitLost, r.code)
	assert.NotEmpty(t, r.stderr)
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

// Whoever gives a request up stops the work at the other end.
func TestCallThatIsGivenUpStopsItsCommand(t *testing.T) {
	began := time.Now()
	r := packetstream(t, "call", "--extensions=required", "--timeout=300ms", "--", self(t), "serve", "--handler=exec:sleep 60")
	assert.NotEqual(t, exitOK, r.code)
	assert.Less(t, time.Since(began), 30*time.Second)
	assert.Contains(t, r.stderr, "300ms")
}
