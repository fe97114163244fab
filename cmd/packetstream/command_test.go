//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// walk calls f for each command of the tree.
func walk(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, f)
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	names := 0
	walk(root, func(cmd *cobra.Command) {
		names++
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			assert.NotEmpty(t, cmd.Short)
			assert.Contains(t, cmd.Example, "packetstream")
			r := packetstream(t, append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
			assert.Equal(t, exitOK, r.code)
			assert.Empty(t, r.stderr)
			assert.Contains(t, r.stdout, cmd.Example)
			assert.Contains(t, r.stdout, cmd.Long)
		})
	})
	assert.Greater(t, names, len(newRootCommand().Commands()), "all commands were seen")
}

func TestHelpDocumentsExitCodes(t *testing.T) {
	help := packetstream(t, "help").stdout
	for _, code := range []string{"  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  130 "} {
		assert.Contains(t, help, "\n"+code)
	}
	assert.Equal(t, help, packetstream(t, "--help").stdout)
	assert.Equal(t, help, packetstream(t).stdout)
	assert.Equal(t, packetstream(t, "call", "--help").stdout, packetstream(t, "help", "call").stdout)
}

// Command lines that make no sense do nothing, print nothing to standard output and exit with 2.
func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args string
		want string
	}{
		"unknown command":         {"nonsense", `unknown command "nonsense" (see packetstream --help)`},
		"near a command":          {"cal", `did you mean "call"?`},
		"unknown flag":            {"--nonsense", "unknown flag: --nonsense (see packetstream --help)"},
		"unknown flag of call":    {"call --nonsense", "unknown flag: --nonsense (see packetstream call --help)"},
		"bad number":              {"call --count many fd:0,1", `invalid argument "many"`},
		"help of nothing":         {"help nonsense", `no command "nonsense"`},
		"help of nothing below":   {"help call nonsense", `no command "call nonsense"`},
		"completion of no shell":  {"completion", "it takes one shell"},
		"unknown shell":           {"completion tcsh", `unknown shell "tcsh"; there are bash zsh fish powershell`},
		"version of something":    {"version 1", "it takes no arguments"},
		"demo of something":       {"demo 1", "it takes no arguments"},
		"call to nothing":         {"call", "it takes one ENDPOINT"},
		"call to two":             {"call fd:0,1 fd:2,3", "it takes one ENDPOINT"},
		"call to both":            {"call fd:0,1 -- true", "it takes one ENDPOINT"},
		"no command":              {"call --", "it takes one ENDPOINT"},
		"unknown scheme":          {"call udp:1", "unknown scheme; there are exec: ssh: stdio: fd: unix: unix-abstract: tcp: tls: activation: ws: wss:"},
		"bad endpoint":            {"call fd:x", "is no descriptor"},
		"empty exec":              {"call exec:", "a command is missing"},
		"negative count":          {"call --count -1 fd:0,1", "--count"},
		"none in flight":          {"call --in-flight 0 fd:0,1", "--in-flight"},
		"too many in flight":      {"call --in-flight 16385 fd:0,1", "--in-flight is within 1 and 16384"},
		"negative timeout":        {"call --timeout -1s fd:0,1", "--timeout"},
		"negative grace":          {"call --grace -1s fd:0,1", "--grace"},
		"flags too large":         {"call --flags 0x4000000000000000 fd:0,1", "--flags has at most 62 bits"},
		"flags over 64 bits":      {"call --flags 18446744073709551616 fd:0,1", "value out of range"},
		"type too large":          {"call --type 18446744073709551615 fd:0,1", "--type is at most 18446744073709551614"},
		"input twice":             {"call --payload - stdio:", "both the payload and the connection"},
		"unknown handler":         {"serve --handler nonsense", `--handler is echo, test or exec:CMD, not "nonsense"`},
		"handler without command": {"serve --handler exec:", "--handler is"},
		"serve two":               {"serve fd:0,1 fd:2,3", "it takes one ENDPOINT"},
		"serve unknown":           {"serve udp:1", "unknown scheme"},
		"serve with grace":        {"serve --grace -1s", "--grace"},
		"no connections":          {"serve --max-conns 0", "--max-conns is within 1 and 1048576, not 0"},
		"no handshake":            {"serve --handshake 0", "--handshake is a time above 0"},
		"no first packet":         {"serve --first-packet -1s", "--first-packet is a time from 0 up"},
		"host that is an option":  {"call ssh:-oX//cmd", "looks like an option"},
		"no command to serve":     {"serve --exec= fd:0,1", "--exec is a command"},
		"children of nothing":     {"serve --children 2 fd:0,1", "--exec is a command"},
		"command and handler":     {"serve --exec x --handler echo fd:0,1", "exclude each other"},
		"nobody to ask":           {"serve --exec x --ask-back fd:0,1", "--ask-back is for --children"},
		"too many children":       {"serve --exec x --children 1025 fd:0,1", "--children is within 0 and 1024"},
		"command that is none":    {"serve --exec | fd:0,1", "--exec: "},
		"ticks of nobody":         {"serve --exec x --tick fd:0,1", "are about packets"},
		"proxy of one":            {"proxy fd:0,1", "it takes two ENDPOINTs"},
		"proxy of three":          {"proxy fd:0,1 fd:0,1 fd:0,1", "it takes two ENDPOINTs"},
		"proxy without command":   {"proxy fd:0,1 --", "it takes two ENDPOINTs"},
		"proxy of itself":         {"proxy stdio: stdio:", "cannot be both endpoints"},
		"proxy to nowhere":        {"proxy fd:0,1 udp:1", "unknown scheme"},
		"proxy from nowhere":      {"proxy udp:1 fd:0,1", "unknown scheme"},
		"check nothing":           {"check", "it takes one ENDPOINT"},
		"check mode":              {"check --mode fast -- true", `--mode is seq, pipelined or duplex, not "fast"`},
		"check requests":          {"check --requests -1 -- true", "--requests"},
		"check window":            {"check --window 0 -- true", "--window"},
		"check timeout":           {"check --timeout -1s -- true", "--timeout"},
		"eventstream nothing":     {"eventstream call tcp:127.0.0.1:1", "it takes an ADDRESS and an OPERATION"},
		"eventstream unknown":     {"eventstream cal", `did you mean "call"?`},
		"eventstream address":     {"eventstream call fd:0,1 op", "is not tcp:HOST:PORT"},
		"eventstream header":      {"eventstream call tcp:127.0.0.1:1 op -H nonsense", "not NAME[:TYPE]=VALUE"},
		"eventstream timeout":     {"eventstream call tcp:127.0.0.1:1 op --timeout -1s", "--timeout"},
		"eventstream authorities": {"eventstream call tls:127.0.0.1:1 op --ca /nonexistent", "--ca: "},
		"eventstream files":       {"eventstream decode a b", "it takes one file"},
		"eventstream listen":      {"eventstream serve --listen carrier-pigeon", "is not tcp:HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			r := packetstream(t, strings.Fields(tc.args)...)
			assert.Equal(t, exitUsage, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, tc.want)
			assert.True(t, strings.HasPrefix(r.stderr, "packetstream: "), r.stderr)
			assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "one line: %s", r.stderr)
		})
	}
}

func TestVersion(t *testing.T) {
	r := packetstream(t, "version")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Regexp(t, `^packetstream \S+\n$`, r.stdout)
	assert.Contains(t, packetstream(t, "--version").stdout, strings.TrimSpace(strings.TrimPrefix(r.stdout, "packetstream ")))
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := packetstream(t, "completion", shell)
		assert.Equal(t, exitOK, r.code, r.stderr)
		assert.Contains(t, r.stdout, "packetstream")
	}
	assert.Contains(t, packetstream(t, "__complete", "ca").stdout, "call\t")
}

func TestDryRun(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"call a command":   {[]string{"call", "--dry-run", "--", "sh", "-c", "exit 9"}, []string{"would start exec:sh -c 'exit 9'"}},
		"call exec":        {[]string{"call", "--dry-run", "exec:sh -c 'exit 9'"}, []string{"would start exec:sh -c 'exit 9'"}},
		"call over ssh":    {[]string{"call", "--dry-run", "ssh:ada@host:2222//helper 'a b'"}, []string{`would start exec:ssh -T -p 2222 -- ada@host "helper 'a b'"`}},
		"serve over ssh":   {[]string{"serve", "--dry-run", "ssh:host//helper"}, []string{"would serve ssh:host//helper", "would start exec:ssh -T -- host helper"}},
		"call an endpoint": {[]string{"call", "--dry-run", "tcp:localhost:1"}, []string{"would connect to tcp:localhost:1"}},
		"payload unread":   {[]string{"call", "--dry-run", "--payload", "-", "fd:0,1"}, []string{"would connect to fd:0,1"}},
		"check":            {[]string{"check", "--dry-run", "--", "false"}, []string{"would start exec:false"}},
		"serve":            {[]string{"serve", "--dry-run"}, []string{"would serve stdio:"}},
		"serve a command": {[]string{"serve", "--dry-run", "--handler", "exec:tr a-z A-Z", "tcp:localhost:1"},
			[]string{"would serve tcp:localhost:1", "would start for each request exec:/bin/sh -c 'tr a-z A-Z'"}},
		"serve by a command for each": {[]string{"serve", "--dry-run", "--exec", "helper 'a b'", "tcp:localhost:1"},
			[]string{"would listen at tcp:localhost:1", "would start for each connection exec:helper 'a b'"}},
		"serve by shared commands": {[]string{"serve", "--dry-run", "--exec", "helper", "--children=3", "tcp:localhost:1"},
			[]string{"would serve tcp:localhost:1", "would start 3 of exec:helper"}},
		"proxy": {[]string{"proxy", "--dry-run", "tcp:localhost:1", "unix:x"},
			[]string{"would listen at tcp:localhost:1", "would connect for each connection to unix:x"}},
		"proxy to a command": {[]string{"proxy", "--dry-run", "stdio:", "--", "helper", "a b"},
			[]string{"would connect to stdio:", "would start exec:helper 'a b'"}},
		"proxy to ssh": {[]string{"proxy", "--dry-run", "--connect", "tcp:localhost:1", "ssh:host//helper"},
			[]string{"would connect to tcp:localhost:1", "would start exec:ssh -T -- host helper"}},
		"demo": {[]string{"demo", "--dry-run"}, []string{"would start exec:" + self(t) + " serve --handler test"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := packetstream(t, tc.args...)
			assert.Equal(t, exitOK, r.code)
			assertLines(t, r.stdout, tc.want...)
			assert.Empty(t, r.stderr)
		})
	}
}
