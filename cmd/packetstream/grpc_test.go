package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// buildPlugin builds the plugin of the example, which has reflection.
func buildPlugin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	out, err := exec.Command("go", "build", "-o", path, "../../examples/plugin/plugin").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// runGRPC runs a command line and returns what it printed and its exit code.
func runGRPC(t *testing.T, stdin string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append([]string{"grpc"}, args...))
	err := root.ExecuteContext(ctx)
	return out.String(), exitCode(err)
}

func TestGRPC(t *testing.T) {
	plugin := buildPlugin(t)
	cases := map[string]struct {
		stdin string
		args  []string
		out   string
		code  int
	}{
		"list":             {args: []string{"list", "--", plugin}, out: "grpc.reflection.v1.ServerReflection\ngrpc.reflection.v1alpha.ServerReflection\nwords.Explainer\n"},
		"describe service": {args: []string{"describe", "words.Explainer", "--", plugin}, out: "service words.Explainer {\n  rpc Explain(words.Word) returns (words.Meaning);\n}\n"},
		"describe method":  {args: []string{"describe", "words.Explainer/Explain", "--", plugin}, out: "rpc Explain(words.Word) returns (words.Meaning);\n"},
		"describe message": {args: []string{"describe", "words.Word", "exec:" + plugin}, out: "message words.Word {\n  string text = 1;\n}\n"},
		"call that fails":  {args: []string{"call", "-d", `{"text":"pipe"}`, "words.Explainer/Explain", "--", plugin}, code: exitFailed},
		"stream": {stdin: `{"listServices":""} {"fileContainingSymbol":"no.Such"}`,
			args: []string{"call", "-d", "-", "-H", "k: v", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "--", plugin},
			out: `{"originalRequest":{"listServices":""},"listServicesResponse":{"service":[{"name":"grpc.reflection.v1.ServerReflection"},{"name":"grpc.reflection.v1alpha.ServerReflection"},{"name":"words.Explainer"}]}}` + "\n" +
				`{"originalRequest":{"fileContainingSymbol":"no.Such"},"errorResponse":{"errorCode":5,"errorMessage":"proto: not found"}}` + "\n"},
		"unknown symbol": {args: []string{"describe", "no.Such", "--", plugin}, code: exitFailed},
		"no method":      {args: []string{"call", "words.Word", "--", plugin}, code: exitUsage},
		"no field":       {args: []string{"call", "-d", `{"no":1}`, "words.Explainer/Explain", "--", plugin}, code: exitUsage},
		"no JSON":        {args: []string{"call", "-d", `{`, "words.Explainer/Explain", "--", plugin}, code: exitUsage},
		"two messages":   {args: []string{"call", "-d", `{} {}`, "words.Explainer/Explain", "--", plugin}, code: exitUsage},
		"no header":      {args: []string{"call", "-H", "k", "words.Explainer/Explain", "--", plugin}, code: exitUsage},
		"no endpoint":    {args: []string{"list"}, code: exitUsage},
		"another one":    {args: []string{"list", "--", "cat"}, code: exitLost},
		"silence":        {args: []string{"list", "--timeout", "100ms", "--", "sh", "-c", "cat >/dev/null"}, code: exitTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, code := runGRPC(t, c.stdin, c.args...)
			require.Equal(t, c.code, code)
			require.Equal(t, c.out, strings.ReplaceAll(out, "\u00a0", " ")) // protobuf varies its spaces on purpose
		})
	}
}
