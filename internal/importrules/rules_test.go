package importrules

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestModule(t *testing.T) {
	packages, err := Scan(os.DirFS("../.."))
	require.NoError(t, err)
	var paths []string
	for _, p := range packages {
		paths = append(paths, p.Path)
	}
	require.Subset(t, paths, []string{"packet", "cmd/packetstream", "internal/importrules"}, "the module itself was read")
	for _, line := range Check(packages) {
		t.Error(line)
	}
}

// Each case is one import that is fine or breaks the rule whose words are given.
func TestRules(t *testing.T) {
	cases := []struct{ from, imported, broken string }{
		{"packet", "io", ""},
		{"packet", "golang.org/x/sys/unix", ""},
		{"bufio", "github.com/djherbis/buffer", ""},
		{"bufio", "github.com/djherbis/bufferbloat", "the core imports only"},
		{"pconn", "google.golang.org/protobuf/proto", "the core imports only"},
		{"pconn/protobuf", "google.golang.org/protobuf/proto", ""},
		{"pconn", "C", ""},
		{"endpoint", "github.com/coder/websocket", ""},
		{"rpc/prpc", "github.com/vmihailenco/msgpack/v5", ""},

		{"packet", Module + "/bufio", "packet imports no other part"},
		{"tick", Module + "/packet", "tick imports no other part"},
		{"bufio", Module + "/packet", ""},
		{"bufio", Module + "/tick", "bufio may import packet and nothing else"},
		{"pconn", Module + "/bufio", ""},
		{"pconn", Module + "/endpoint", "pconn may import packet, bufio, tick and"},
		{"pconn/codec", Module + "/pconn", ""},
		{"endpoint", Module + "/pconn", ""},
		{"endpoint", Module + "/rpc/links", "endpoint may import"},
		{"endpoint/ws", Module + "/endpoint", ""},
		{"rpc/links", Module + "/pconn", ""},
		{"rpc/links", Module + "/endpoint", "rpc may import"},
		{"rpc/links", Module + "/rpc/prpc", "rpc may import"},
		{"rpc/links", Module + "/rpc/links/inner", ""},
		{"rpc/links/inner", Module + "/rpc/links", ""},
		{"rpc/links", Module + "/rpc/grpclinks", "rpc may import"},
		{"rpc/grpclinks", Module + "/rpc/links", ""},
		{"rpc/grpclinks", Module + "/rpc/prpc", "rpc/grpclinks may import"},
		{"cmd/packetstream", Module + "/rpc/prpc", ""},
		{"cmd/packetstream", Module + "/endpoint/ws", ""},
		{"packet", Module + "/internal/x", ""},
		{"internal/x", Module + "/pconn", ""},
		{"internal/x", Module + "/rpc/prpc", ""},
		{"internal/x", "github.com/stretchr/testify/require", ""},
		{"new", Module + "/packet", "it is in no part"},
		{"", Module + "/packet", "it is in no part"},

		{"internal/x", Module + "/cmd/packetstream", "nobody imports a command"},
		{"packet_test", Module + "/cmd/packetstream", "nobody imports a command"},
		{"cmd/other", Module + "/cmd/packetstream/inner", ""},
		{"rpc/grpclinks", "google.golang.org/grpc", ""},
		{"rpc/grpclinks/inner", "google.golang.org/grpc/status", ""},
		{"rpc/links", "google.golang.org/grpc/codes", "only rpc/grpclinks imports grpc"},
		{"rpc/links_test", "google.golang.org/grpc", "only rpc/grpclinks imports grpc"},
		{"cmd/packetstream", "google.golang.org/grpc", "only rpc/grpclinks imports grpc"},

		{"cmd/packetstream", "github.com/spf13/cobra", ""},
		{"endpoint", "github.com/spf13/pflag", "no command line or logging library"},
		{"endpoint", "log", "*slog.Logger"},
		{"endpoint", "log/slog", ""},
		{"cmd/packetstream", "log", ""},

		{"packet_test", "github.com/stretchr/testify/assert", ""},
		{"packet_test", Module + "/pconn", ""},
	}
	for _, c := range cases {
		t.Run(c.from+" "+c.imported, func(t *testing.T) {
			p := Package{Path: strings.TrimSuffix(c.from, "_test")}
			if p.Path != c.from {
				p.TestImports = []string{c.imported}
			} else {
				p.Imports = []string{c.imported}
			}
			got := strings.Join(Check([]Package{p}), "\n")
			if c.broken == "" {
				assert.Empty(t, got)
			} else {
				assert.Contains(t, got, c.broken)
				assert.True(t, strings.HasPrefix(got, strconv.Quote(p.Path)+" imports "+c.imported+": "), got)
			}
		})
	}
}

// What the core uses of internal is held to the core's rule, however far away; the rest of internal is not.
func TestCoreReachesIntoInternal(t *testing.T) {
	const outside = "github.com/stretchr/testify/require"
	got := Check([]Package{
		{Path: "pconn", Imports: []string{Module + "/internal/near"}},
		{Path: "internal/near", Imports: []string{Module + "/internal/far", Module + "/internal/near"}},
		{Path: "internal/far", Imports: []string{outside}},
		{Path: "internal/apart", Imports: []string{outside}},
	})
	require.Len(t, got, 1)
	assert.Contains(t, got[0], `"internal/far" imports `+outside)
}

// An arrow that points back does so behind an internal package too.
func TestArrowThroughInternal(t *testing.T) {
	packages := []Package{
		{Path: "pconn", Imports: []string{Module + "/internal/near"}},
		{Path: "cmd/packetstream", Imports: []string{Module + "/internal/near"}},
		{Path: "internal/near", Imports: []string{Module + "/internal/far"}},
		{Path: "internal/far", Imports: []string{Module + "/endpoint"}},
	}
	got := Check(packages)
	require.Len(t, got, 1)
	assert.Contains(t, got[0], `"pconn" imports `+Module+`/internal/far: which imports endpoint, and pconn may import`)
}

func TestScan(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tree := fstest.MapFS{
		"go.mod":                 file("module m\n"),
		"doc.go":                 file("package m\nimport \"root\"\n"),
		"a/a.go":                 file("package a\nimport (\n\t\"x\"\n\tname \"y\"\n\t_ `z`\n)\n"),
		"a/a_windows.go":         file("//go:build windows\n\npackage a\nimport \"w\"\n"),
		"a/a_test.go":            file("package a_test\nimport \"t\"\n"),
		"a/text.txt":             file("not Go"),
		"a/testdata/broken.go":   file("not Go"),
		".cache/x.go":            file("not Go"),
		"_old/x.go":              file("not Go"),
		"bench/go.mod":           file("module m/bench\n"),
		"bench/bench.go":         file("package bench\nimport \"foreign\"\n"),
		"deep/down/here/here.go": file("package here\n"),
	}
	got, err := Scan(tree)
	require.NoError(t, err)
	assert.Equal(t, []Package{
		{Path: "", Imports: []string{"root"}},
		{Path: "a", Imports: []string{"x", "y", "z", "w"}, TestImports: []string{"t"}},
		{Path: "deep/down/here"},
	}, got)

	tree["b/b.go"] = file("package b\nimport (\n")
	_, err = Scan(tree)
	assert.ErrorContains(t, err, "b/b.go")

	_, err = Scan(os.DirFS("no such directory"))
	assert.Error(t, err)
}
