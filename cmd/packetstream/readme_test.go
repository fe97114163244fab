//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/livepeer"
)

// root is the module's, seen from here.
const root = "../.."

func readDocument(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

// codeBlocks returns the blocks of a language in the README.
func codeBlocks(t testing.TB, language string) []string {
	t.Helper()
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```\n").FindAllStringSubmatch(readDocument(t, "README.md"), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// What documents link to is there.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	documents, err := filepath.Glob(root + "/*.md")
	require.NoError(t, err)
	below, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	links := 0
	for _, document := range append(documents, below...) {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			_, err := os.Stat(filepath.Join(filepath.Dir(document), m[1]))
			assert.NoError(t, err, document)
		}
	}
	assert.Greater(t, links, 20)
}

// The programs that the README shows are those of the example, which are tested there.
func TestReadmeShowsTheExample(t *testing.T) {
	blocks := codeBlocks(t, "go")
	require.Len(t, blocks, 2)
	for i, name := range []string{"host", "helper"} {
		assert.Contains(t, readDocument(t, "examples/hello/"+name+"/main.go"), blocks[i])
		assert.LessOrEqual(t, strings.Count(blocks[i], "\n"), 20)
	}
}

// endpointTable is the README's table of endpoints, as the command knows them.
func endpointTable() string {
	var b strings.Builder
	b.WriteString("| endpoint | to connect | to serve |\n|---|---|---|\n")
	for _, s := range schemes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(s.Syntax, " or ", "`, `"), s.Dialed, s.Served)
	}
	return b.String()
}

// The README's table of endpoints is what the code says; so is the list in the package's comment.
func TestReadmeListsTheEndpoints(t *testing.T) {
	assert.Contains(t, readDocument(t, "README.md"), "\n\n"+endpointTable()+"\n")
	doc := readDocument(t, "endpoint/doc.go")
	help := packetstream(t, "help").stdout
	for _, s := range endpoint.Builtin() {
		assert.Contains(t, doc, "\n//\t"+s.Name)
	}
	for _, s := range schemes() {
		assert.Contains(t, help, "\n  "+s.Syntax+"\n")
	}
}

// The Python peers that the README shows, one by our file and one by the reference, do what the README says.
func TestLiveReadmePeer(t *testing.T) {
	python := livepeer.Python(t, "packetstream-20240630")
	blocks := codeBlocks(t, "python")
	require.Len(t, blocks, 2)
	file, err := filepath.Abs(filepath.Join(root, "clients/python"))
	require.NoError(t, err)
	t.Setenv("PYTHONPATH", file)
	for _, block := range blocks {
		peer := filepath.Join(t.TempDir(), "peer.py")
		require.NoError(t, os.WriteFile(peer, []byte(block), 0o600))
		r := packetstream(t, "call", "--payload", "hello", "--", python, "-B", peer)
		assert.Equal(t, exitOK, r.code, r.stderr)
		assert.Equal(t, "HELLO\n", r.stdout)
	}
}
