package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module is a small one whose packages end in every way that matters.
var module = map[string]string{
	"go.mod": "module example.org/m\n\ngo 1.26\n",
	"good/good_test.go": `package good
import "testing"
func TestPlain(t *testing.T) {}
func TestTable(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two/deep", func(t *testing.T) { t.Run("three", func(t *testing.T) {}) })
}
func ExamplePlain() {
	// Output:
}
func FuzzSeeds(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, n int) {}) }
func BenchmarkPlain(b *testing.B) {}
`,
	"skips/skips_test.go": `package skips
import "testing"
func TestAllowed(t *testing.T) { t.Skip("live peer absent: prpc-1: no network: at all") }
func TestAllowedToo(t *testing.T) {
	t.Run("sub", func(t *testing.T) { t.Skip("live peer absent: prpc-1: no network: at all") })
}
func TestMissing(t *testing.T) { t.Skip("live peer absent: other: not made") }
func TestOther(t *testing.T) { t.Log("on the way"); t.Skip("not on this machine") }
`,
	"bad/bad_test.go": `package bad
import "testing"
func TestGood(t *testing.T) {}
func TestSub(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Run("with/slash", func(t *testing.T) {})
	t.Run("bad", func(t *testing.T) { t.Error("what went wrong") })
}
func TestItself(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Fatal("after its subtests")
}
`,
	"panics/panics_test.go": `package panics
import "testing"
func TestPanic(t *testing.T) { panic("at the disco") }
func TestNever(t *testing.T) {}
`,
	"leaks/leaks_test.go": `package leaks
import ("testing"; "os")
func TestMain(m *testing.M) { m.Run(); println("something leaked"); os.Exit(1) }
func TestGood(t *testing.T) {}
`,
	"leaves/leaves_test.go": `package leaves
import ("testing"; "os")
func TestLeaves(t *testing.T) { os.Exit(0) }
`,
	"broken/broken_test.go": `package broken
func TestBroken(t *testing.T) {}
`,
	"empty/empty.go": "package empty\n",
}

// goTest runs go test -json on packages of the module and returns what it printed.
func goTest(t *testing.T, packages ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-vet=off"}, packages...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	require.NoError(t, ctx.Err())
	return out
}

func digestOf(t *testing.T, stdin []byte, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = report(args, bytes.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func TestSummaryOfGoodRun(t *testing.T) {
	file := writeFile(t, string(goTest(t, "./good", "./empty")))
	code, out, _ := digestOf(t, nil, file)
	assert.Equal(t, 0, code)
	assert.Equal(t, "5 passed, 0 failed, 0 skipped\nlive peers absent: none\n", out)
}

func TestSummaryOfBadRun(t *testing.T) {
	events := goTest(t, "./bad", "./panics", "./leaks", "./leaves", "./broken", "./good")
	code, out, _ := digestOf(t, nil, writeFile(t, string(events)))
	assert.Equal(t, 1, code)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Equal(t, "10 passed, 6 failed, 0 skipped", lines[0])
	assert.ElementsMatch(t, []string{
		"failed:",
		"  example.org/m/bad TestSub/bad",
		"  example.org/m/bad TestItself",
		"  example.org/m/panics TestPanic",
		"  example.org/m/leaks",
		"  example.org/m/leaves TestLeaves",
		"  example.org/m/broken",
		"live peers absent: none",
	}, lines[1:])
}

func TestFollowShowsWhatFailed(t *testing.T) {
	events := goTest(t, "./bad", "./panics", "./leaks", "./broken", "./good")
	code, out, _ := digestOf(t, events, "-follow")
	assert.Equal(t, 1, code)
	for _, want := range []string{
		"what went wrong", "after its subtests", "at the disco", "something leaked", "undefined: testing",
		"---- example.org/m/bad TestSub/bad\n",
		"example.org/m/bad: 4 passed, 2 failed, 0 skipped\n",
		"example.org/m/good: 5 passed, 0 failed, 0 skipped\n",
	} {
		assert.Contains(t, out, want)
	}
}

func TestFollowIsQuietAboutWhatPassed(t *testing.T) {
	code, out, _ := digestOf(t, goTest(t, "./good", "./empty"), "-follow")
	assert.Equal(t, 0, code)
	assert.Regexp(t, `^ok   +\d+\.\ds  example.org/m/good: 5 passed, 0 failed, 0 skipped\n$`, out)
}

func TestSkips(t *testing.T) {
	file := writeFile(t, string(goTest(t, "./skips")))
	allow := writeFile(t, "# peers\n\nprpc-* # not on the index any more\n")
	const peers = "live peers absent:\n" +
		"  other: not made (1 test%s)\n" +
		"  prpc-1: no network: at all (2 tests)\n"

	code, out, _ := digestOf(t, nil, "-allow", allow, file)
	assert.Equal(t, 0, code)
	assert.Equal(t, "0 passed, 0 failed, 4 skipped\n"+
		"skipped:\n  example.org/m/skips TestOther: not on this machine\n"+
		strings.ReplaceAll(peers, "%s", ""), out)

	code, out, _ = digestOf(t, nil, "-ci", "-allow", allow, file)
	assert.Equal(t, 1, code)
	assert.Equal(t, "0 passed, 2 failed, 2 skipped\n"+
		"failed:\n  example.org/m/skips TestOther: skipped: not on this machine\n"+
		strings.ReplaceAll(peers, "%s", ", which is not allowed here"), out)

	code, out, _ = digestOf(t, nil, "-ci", file)
	assert.Equal(t, 1, code)
	assert.True(t, strings.HasPrefix(out, "0 passed, 4 failed, 0 skipped\n"), out)
}

// A run that was killed leaves events without an end.
func TestStoppedRun(t *testing.T) {
	events := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestDone"}
{"Action":"pass","Package":"p","Test":"TestDone"}
{"Action":"run","Package":"p","Test":"TestStuck"}
{"Action":"run","Package":"p","Test":"TestStuck/sub"}
{"Action":"start","Package":"q"}
{"Action":"out`
	code, out, _ := digestOf(t, []byte(events), "-follow")
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "did not finish")
	assert.Contains(t, out, "p: 1 passed, 1 failed, 0 skipped")
	assert.Contains(t, out, "q: 0 passed, 1 failed, 0 skipped")
	assert.Contains(t, out, `{"Action":"out`)
}

// With -count a test runs again and again, and each run counts.
func TestRepeatedRuns(t *testing.T) {
	var events string
	for _, outcome := range []string{"pass", "fail", "pass"} {
		events += `{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"run","Package":"p","Test":"TestX/sub"}
{"Action":"output","Package":"p","Test":"TestX/sub","Output":"this was a ` + outcome + `\n"}
{"Action":"` + outcome + `","Package":"p","Test":"TestX/sub"}
{"Action":"` + outcome + `","Package":"p","Test":"TestX"}
`
	}
	events += `{"Action":"fail","Package":"p"}` + "\n"
	code, out, _ := digestOf(t, []byte(events), "-follow")
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "this was a fail")
	assert.NotContains(t, out, "this was a pass")
	assert.Contains(t, out, "p: 2 passed, 1 failed, 0 skipped")
}

// The same test may stand in several files, as a fuzz target does.
func TestFilesAddUp(t *testing.T) {
	one := writeFile(t, `{"Action":"pass","Package":"p","Test":"FuzzX"}
{"Action":"pass","Package":"p"}
`)
	step := writeFile(t, `{"Action":"fail","Package":"step","Test":"gofmt"}
{"Action":"fail","Package":"step"}
`)
	code, out, _ := digestOf(t, nil, one, one, step)
	assert.Equal(t, 1, code)
	assert.Equal(t, "2 passed, 1 failed, 0 skipped\nfailed:\n  step gofmt\nlive peers absent: none\n", out)
}

func TestBadUse(t *testing.T) {
	code, _, errs := digestOf(t, nil, "absent.json")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "absent.json")

	code, _, _ = digestOf(t, nil, "-allow", "absent.txt")
	assert.Equal(t, 2, code)

	code, _, errs = digestOf(t, nil, "-allow", writeFile(t, "prpc[\n"))
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "syntax error in pattern")

	code, _, _ = digestOf(t, nil, "-nonsense")
	assert.Equal(t, 2, code)

	code, _, errs = digestOf(t, nil, "-h")
	assert.Equal(t, 0, code)
	assert.Contains(t, errs, "-follow")
}
