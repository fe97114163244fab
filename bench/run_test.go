package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
	"github.com/packetstream/packetstream/bench/report"
)

var quickTimes = load.Times{Warm: 20 * time.Millisecond, Time: 40 * time.Millisecond, Most: 20 * time.Second}

// TestEveryPeer measures every peer in a pair of processes.
func TestEveryPeer(t *testing.T) {
	cells := []peer.Cell{{Size: 16, InFlight: 1}, {Size: 64 << 10, InFlight: 8}, {Size: 16, InFlight: 8, Both: true}, {Size: 16, InFlight: 3, Conns: 3}}
	for _, p := range peer.All() {
		t.Run(p.Name, func(t *testing.T) {
			for _, c := range cells {
				if p.WhyNot(c) != "" || p.Python != nil && c.Size > 16 {
					continue
				}
				s := measureApart(t.Context(), &spec{Peer: p.Name, Cell: c, Times: quickTimes})
				if strings.Contains(s.Err, peer.ErrNoPython.Error()) {
					t.Skip("live peer absent: packetstream-" + peer.PythonRelease + ": " + s.Err)
				}
				require.Empty(t, s.Err, report.CellName(c))
				assertSample(t, p, &s)
			}
		})
	}
}

func assertSample(t *testing.T, p *peer.Peer, s *load.Sample) {
	t.Helper()
	assert.NotZero(t, s.Calls)
	assert.InEpsilon(t, s.PerSec*float64(s.Cell.Size)/1e6, s.MBs, 1e-9)
	if !s.NoLatency {
		assert.Positive(t, s.P50)
		assert.GreaterOrEqual(t, s.P99, s.P50)
	}
	if s.Cell.Both {
		assert.NotZero(t, s.CallsAnswerer, "the answering end calls too")
		assert.Greater(t, s.Calls, s.CallsAnswerer)
	}
	if p.Python == nil {
		assert.False(t, s.NoUsage)
		assert.Positive(t, s.CPU)
		assert.Positive(t, s.SystemCalls)
	}
}

// TestFloorMakesFourSystemCalls checks the count of system calls by what is known: two processes that read and write one
// frame each.
func TestFloorMakesFourSystemCalls(t *testing.T) {
	s := measureApart(t.Context(), &spec{Peer: peer.Floor, Cell: peer.Cell{Size: 16, InFlight: 1}, Times: quickTimes})
	require.Empty(t, s.Err)
	assert.InDelta(t, 4, s.SystemCalls, .5)
	assert.InDelta(t, 0, s.AllocsCaller+s.AllocsAnswer, .5)
}

func TestIdle(t *testing.T) {
	for _, p := range peer.All() {
		if p.Kind != peer.Ours && p.Kind != peer.Rival {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			var i report.Idle
			require.NoError(t, apart(t.Context(), &i, "idle", p.Name, "5"))
			require.Empty(t, i.Err)
			assert.Positive(t, i.KiB)
			assert.Positive(t, i.Goroutines)
		})
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	cmd := newRootCommand()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"profile", "--cell", "16x2", "--time", "100ms", "--dir", dir})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	var s load.Sample
	require.NoError(t, json.Unmarshal(out.Bytes(), &s))
	assert.NotZero(t, s.Calls)
	for _, end := range []string{"caller", "answerer"} {
		for _, kind := range []string{"cpu", "block", "mutex", "allocs"} {
			st, err := os.Stat(filepath.Join(dir, end+"."+kind))
			require.NoError(t, err)
			assert.NotZero(t, st.Size())
		}
	}
}

// TestRunAndReport goes the whole way, from a run to each form of its results.
func TestRunAndReport(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	run := func(args ...string) string {
		var out bytes.Buffer
		cmd := newRootCommand()
		cmd.SetOut(&out)
		cmd.SetErr(new(bytes.Buffer))
		cmd.SetArgs(args)
		require.NoError(t, cmd.ExecuteContext(t.Context()))
		return out.String()
	}
	table := run("run", "--set", "quick", "--rounds", "1", "--peers", "raw-sys,packetstream,net/rpc", "--cells", "16x1", "--out", results)
	for _, name := range []string{"raw-sys", "packetstream", "net/rpc", "16 B ×1", "Goals"} {
		assert.Contains(t, table, name)
	}
	assert.Regexp(t, `\nThe run took \d+s\.\n$`, table)
	assert.Contains(t, run("report", "--from", results, "--format", "gobench"), "BenchmarkCall/packetstream/size=16B/inflight=1 ")
	assert.Contains(t, run("report", "--from", results, "--format", "page"), "| packetstream |")
	assert.Contains(t, run("report", "--from", results, "--format", "svg"), "</svg>")
}

func TestWhoIsNotMeasuredIsSaidOfEveryCell(t *testing.T) {
	r := &runner{ctx: t.Context(), log: new(bytes.Buffer), results: new(report.Results)}
	for _, c := range []peer.Cell{{Size: 16, InFlight: 8}, {Size: 16, InFlight: 8, Conns: 1}, {Size: 16, InFlight: 8, Conns: 8}} {
		r.cell(c, []string{peer.Default, peer.Polled, "yamux-1"}, 0, quickTimes)
	}
	var absent []string
	for _, a := range r.results.Absent {
		absent = append(absent, a.Peer+" "+report.CellName(a.Cell)+": "+a.Why)
	}
	assert.Equal(t, []string{
		"raw-pp 16 B ×8: one frame back and forth on a connection", "yamux-1 16 B ×8: one stream",
		"raw-pp 16 B ×8, 1 connection: one frame back and forth on a connection", "yamux-1 16 B ×8, 1 connection: one stream",
	}, absent)
}

// TestDocumentedCommandsParse reads the commands of the package's documentation and of each command's examples.
func TestDocumentedCommandsParse(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	texts := []string{string(doc)}
	for _, c := range newRootCommand().Commands() {
		texts = append(texts, c.Example)
	}
	lines := regexp.MustCompile(`(?m)^(?://\t|  )bench (\S+(?: \S+)*)`).FindAllStringSubmatch(strings.Join(texts, "\n"), -1)
	require.Greater(t, len(lines), 8)
	for _, line := range lines {
		t.Run(line[1], func(t *testing.T) {
			cmd, rest, err := newRootCommand().Find(strings.Fields(line[1]))
			require.NoError(t, err)
			require.NoError(t, cmd.ParseFlags(rest))
			assert.Empty(t, cmd.Flags().Args())
		})
	}
}

func TestParseCell(t *testing.T) {
	for text, want := range map[string]peer.Cell{
		"16x1":       {Size: 16, InFlight: 1},
		"65536x64":   {Size: 65536, InFlight: 64},
		"8x2both":    {Size: 8, InFlight: 2, Both: true},
		"16x64over8": {Size: 16, InFlight: 64, Conns: 8},
		"1048576x1":  {Size: 1 << 20, InFlight: 1},
	} {
		got, err := parseCell(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "16", "16x", "x1", "16x0", "7x1", "16x1way", "-16x1", "16x8over", "16x8over0", "16x8over8both"} {
		_, err := parseCell(text)
		assert.Error(t, err, text)
	}
}

func TestSets(t *testing.T) {
	for _, name := range []string{"quick", "headline", "full"} {
		s, err := findSet(name)
		require.NoError(t, err)
		_, err = peer.Find(s.peers...)
		require.NoError(t, err)
		assert.Contains(t, s.peers, peer.Default)
	}
	_, err := findSet("other")
	assert.Error(t, err)
}
