package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	one   = peer.Cell{Size: 16, InFlight: 1}
	many  = peer.Cell{Size: 16, InFlight: 64}
	rates = map[string][]float64{ // calls per second by round
		peer.Floor:   {100, 200, 50},
		peer.Default: {40, 60, 25},
		"drpc":       {20, 44, 26},
		"arpc":       {10, 10, 10},
	}
)

func results() *Results {
	r := &Results{Set: "quick", Rounds: 3, Versions: map[string]string{"drpc": "v1.2.3"}}
	for name, all := range rates {
		for round, v := range all {
			r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: one, Round: round, Calls: 10, PerSec: v, P50: 1, P99: 2})
		}
	}
	return r
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		got, ok := median(c.in)
		assert.True(t, ok)
		assert.InDelta(t, c.want, got, 1e-12)
	}
	_, ok := median(nil)
	assert.False(t, ok)
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	r := results()
	q, ok := r.Ratio(peer.Default, peer.Floor, one)
	require.True(t, ok)
	assert.InDelta(t, .4, q.Median, 1e-12, "of .4, .3 and .5")
	q, ok = r.Ratio(peer.Default, "drpc", one)
	require.True(t, ok)
	assert.Equal(t, 2, q.Ahead)
	assert.Equal(t, 3, q.Rounds)
	_, ok = r.Ratio(peer.Default, "drpc", many)
	assert.False(t, ok)
}

func TestFailedSamplesCountForNothing(t *testing.T) {
	r := results()
	r.Samples = append(r.Samples, load.Sample{Peer: peer.Default, Cell: one, Round: 3, PerSec: 1e9, Err: "failed"})
	v, ok := r.Median(peer.Default, one, PerSec)
	assert.True(t, ok)
	assert.InDelta(t, 40, v, 1e-12)
	var b bytes.Buffer
	require.NoError(t, r.WriteMissing(&b, Plain))
	assert.Contains(t, b.String(), "round 3 failed: failed")
}

func TestPeersThatLackTheSameCellsShareARow(t *testing.T) {
	r := results()
	r.Absent = append(r.Absent, []Absent{
		{"drpc", one, "slow"}, {"drpc", one, "slow"}, {"drpc", many, "slow"}, {"yamux", many, "slow"},
		{"ttrpc", one, "slow"}, {"ttrpc", many, "slow"}, {"smux", many, "big"},
	}...)
	x, y := CellName(one), CellName(many)
	assert.Equal(t, []missing{
		{peers: []string{"drpc", "ttrpc"}, cells: []string{x, y}, why: "slow"},
		{peers: []string{"yamux"}, cells: []string{y}, why: "slow"},
		{peers: []string{"smux"}, cells: []string{y}, why: "big"},
	}, r.missing())
}

func TestCellsOfTheScalingTableHaveARowOfTheirOwn(t *testing.T) {
	r := &Results{Absent: []Absent{
		{peer.Polled, many, "one frame"},
		{peer.Polled, peer.Cell{Size: 16, InFlight: 8, Conns: 1}, "one frame"},
		{peer.Polled, peer.Cell{Size: 16, InFlight: 20, Conns: 10}, "one frame"},
	}}
	var b bytes.Buffer
	require.NoError(t, r.WriteMissing(&b, Markdown))
	assert.Contains(t, b.String(), "| raw-pp | 16 B ×64 | one frame |\n"+
		"| raw-pp | 16 B ×8, 1 connection; 16 B ×20, 10 connections | one frame |\n")
}

func TestIdleConnectionsThatWereLeftOutAreSaid(t *testing.T) {
	r := &Results{Idle: []Idle{
		{Peer: peer.Default, Pairs: IdlePairs}, {Peer: "yamux", Pairs: IdlePairs}, {Peer: "smux", Pairs: IdlePairs},
		{Peer: "drpc", Pairs: IdlePairs}, {Peer: "drpc", Pairs: 1, Err: "failed"}, {Peer: "drpc", Pairs: 10},
		{Peer: peer.Default, Pairs: 1}, {Peer: peer.Default, Pairs: 10},
	}}
	var b bytes.Buffer
	require.NoError(t, r.WriteMissing(&b, Markdown))
	assert.Contains(t, b.String(), "| yamux, smux | idle connections: 1, 10 | left out, to keep the run short |\n| drpc | idle | failed |")

	r.Idle = r.Idle[:3]
	b.Reset()
	require.NoError(t, r.WriteMissing(&b, Markdown))
	assert.Empty(t, b.String(), "nobody was measured in anything else")
}

func TestBestRival(t *testing.T) {
	assert.Equal(t, "drpc", results().BestRival(one))
	assert.Empty(t, results().BestRival(many))
}

func TestGoals(t *testing.T) {
	r := results()
	r.Idle = []Idle{{Peer: peer.Default, Pairs: IdlePairs, KiB: 20, Goroutines: 2}}
	found := map[string]Verdict{}
	for _, v := range r.CheckGoals() {
		found[v.Cell+" "+v.Mode+" "+v.What] = v
	}
	v := found["16 B ×1 packetstream of the floor or ceiling"]
	assert.True(t, v.Met, "0.40 of the floor where 0.28 is wanted")
	assert.InDelta(t, .4, v.Seen, 1e-12)
	assert.False(t, found["16 B ×1 packetstream-nb of the floor or ceiling"].Measured)
	v = found["16 B ×1 packetstream-nb of the floor, the caller receiving"]
	assert.True(t, v.AtLeast)
	assert.InDelta(t, .55, v.Wanted, 1e-12)
	assert.NotContains(t, found, "16 B ×1 packetstream of the floor, the caller receiving")
	assert.False(t, found["idle packetstream KiB per connection, both ends"].Met)
	assert.True(t, found["idle packetstream goroutines per connection, both ends"].Met)

	var b bytes.Buffer
	missed, err := r.WriteGoals(&b, Plain)
	require.NoError(t, err)
	assert.Equal(t, 1, missed, "the KiB of an idle connection")
}

func TestAhead(t *testing.T) {
	r := results()
	var b bytes.Buffer
	behind, err := r.WriteAhead(&b, Plain)
	require.NoError(t, err)
	assert.Equal(t, 1, behind, "the nearest was ahead in one round of three")

	for i := range r.Samples {
		if s := &r.Samples[i]; s.Peer == "drpc" {
			s.PerSec = 1
		}
	}
	behind, err = r.WriteAhead(&b, Plain)
	require.NoError(t, err)
	assert.Zero(t, behind)
}

// A rival whose rate jumps is ahead in some rounds and yet far behind by the median.
func TestAheadOfEveryRivalNotOnlyTheNearest(t *testing.T) {
	jumps := [...]float64{30, 30, 30, 30, 110, 110, 110}
	for name, c := range map[string]struct {
		floor  float64
		behind int
		row    string
	}{
		"far from the bound": {1000, 1, "| ttrpc | Do | 3.33 | 4 of 7 | not ahead | smux | 1.67 | 7 of 7 |"},
		"at the bound":       {30, 0, "| ttrpc | Do | 3.33 | 4 of 7 | the rival is within 5 % of the bound | smux | 1.67 | 7 of 7 |"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Results{}
			for round, jumping := range jumps {
				for name, rate := range map[string]float64{peer.Default: 100, "smux": 60, "ttrpc": jumping, "drpc": 20, peer.Floor: c.floor} {
					r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: one, Round: round, PerSec: rate})
				}
			}
			var b bytes.Buffer
			behind, err := r.WriteAhead(&b, Markdown)
			require.NoError(t, err)
			assert.Equal(t, c.behind, behind)
			assert.Contains(t, b.String(), c.row)
		})
	}
}

// Of two that it is not ahead of the row names the one that has no excuse.
func TestAheadNamesWhoIsNotAtTheBound(t *testing.T) {
	r := &Results{}
	for name, rate := range map[string]float64{peer.Default: 100, peer.Floor: 101, "drpc": 100, "ttrpc": 95.5, "smux": 50} {
		r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: one, PerSec: rate})
	}
	var b bytes.Buffer
	behind, err := r.WriteAhead(&b, Markdown)
	require.NoError(t, err)
	assert.Equal(t, 1, behind)
	assert.Contains(t, b.String(), "| ttrpc | Do | 1.0471 | 1 of 1 | not ahead | drpc | 1.00 | 0 of 1 |")
}

func TestAheadWhereDoWasNotMeasured(t *testing.T) {
	r := &Results{}
	for name, rate := range map[string]float64{peer.AnyInto: 100, "smux": 50, "ttrpc": 50} {
		r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: one, PerSec: rate})
	}
	var b bytes.Buffer
	behind, err := r.WriteAhead(&b, Markdown)
	require.NoError(t, err)
	assert.Zero(t, behind)
	assert.Contains(t, b.String(), "| smux | DoInto | 2.00 | 1 of 1 | ahead |")
}

// Who fills the caller's memory is put beside DoInto, which does too.
func TestAheadWithMemoryAlike(t *testing.T) {
	r := results()
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Peer == "drpc" {
			s.PerSec = 1
		}
	}
	for round := range 3 {
		for name, v := range map[string]float64{"go-yamux": 100, peer.AnyInto: 200} {
			r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: one, Round: round, Calls: 10, PerSec: v, P50: 1, P99: 2})
		}
	}
	var b bytes.Buffer
	behind, err := r.WriteAhead(&b, Markdown)
	require.NoError(t, err)
	assert.Zero(t, behind)
	assert.Contains(t, b.String(), "| go-yamux | DoInto | 2.00 | 3 of 3 | ahead, within 5 % of the bound or past it | go-yamux | 0.40 | 0 of 3 |")
}

func TestFormats(t *testing.T) {
	r := results()
	for name, f := range map[string]func(io.Writer) error{
		"plain":    func(w io.Writer) error { return r.WriteTables(w, Plain) },
		"markdown": func(w io.Writer) error { return r.WriteTables(w, Markdown) },
		"page":     r.WritePage,
		"gobench":  r.WriteGoBench,
		"svg":      r.WriteSVG,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, f(&b))
			assert.Contains(t, b.String(), "drpc")
			assert.NotContains(t, b.String(), "NaN")
		})
	}
}

func TestReference(t *testing.T) {
	r := results()
	for name, rate := range map[string]float64{"python-g0": 2, "go-to-python-g0": 3, "python-to-go-g0": 1, peer.Default: 599,
		"python-g0-apart": 4, "go-to-python-g0-apart": 5, "python-to-go-g0-apart": 4} {
		r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: referenceCell, PerSec: rate})
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteReference(&b, Markdown))
	assert.Contains(t, b.String(), "| 16 B ×64 | grace 0 | 2.00 | 1.50 | 0.50 (ahead in 0 of 1) | 299.50 | slower; less than 300 times |")
	assert.Contains(t, b.String(), "| 16 B ×64 | grace 0, a processor each | 4.00 | 1.25 | 1.00 | 149.75 | not slower |")
}

func TestReferenceVerdictNamesAllThatIsAmiss(t *testing.T) {
	for want, v := range map[string]referenceVerdict{
		"not slower":                        {},
		"level":                             {level: true},
		"slower":                            {slower: true, level: true},
		"less than 300 times":               {few: true},
		"level; less than 300 times":        {level: true, few: true},
		"slower; not measured":              {slower: true, blank: true},
		"slower; less than 300 times":       {slower: true, level: true, few: true},
		"less than 300 times; not measured": {few: true, blank: true},
	} {
		assert.Equal(t, want, v.String())
	}
}

func TestReferenceMeasuredInPart(t *testing.T) {
	r := results()
	for name, rate := range map[string]float64{"python-g0": 100, "go-to-python-g0": 50, peer.Default: 40000} {
		r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: many, PerSec: rate})
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteReference(&b, Markdown))
	assert.Contains(t, b.String(), "| 0.50 (ahead in 0 of 1) |  | 400.00 | slower; not measured |")
}

func TestWhatIsALittleSlowerInSomeRoundsIsLevel(t *testing.T) {
	for name, c := range map[string]struct {
		rates []float64 // of packetstream, where the reference makes 100
		row   string
	}{
		"a little":                {[]float64{98, 101, 97, 102, 98, 96, 103}, "0.98 (ahead in 3 of 7) | 400.00 | level |"},
		"a little in most rounds": {[]float64{98, 101, 97, 99, 98, 96, 97}, "0.98 (ahead in 1 of 7) | 400.00 | slower |"},
		"much in some rounds":     {[]float64{80, 81, 101, 102, 83, 84, 105}, "0.84 (ahead in 3 of 7) | 400.00 | slower |"},
	} {
		t.Run(name, func(t *testing.T) {
			r := results()
			for i, rate := range c.rates {
				for name, rate := range map[string]float64{"python-g0": 100, "go-to-python-g0": 200, "python-to-go-g0": rate, peer.Default: 40000} {
					r.Samples = append(r.Samples, load.Sample{Peer: name, Cell: many, PerSec: rate, Round: i + 1})
				}
			}
			var b bytes.Buffer
			require.NoError(t, r.WriteReference(&b, Markdown))
			assert.Contains(t, b.String(), c.row)
		})
	}
}

func TestShortFormIsPutBetweenItsMarks(t *testing.T) {
	r := results()
	text, err := r.ReplaceShort([]byte("before\n" + shortBegin + "old\n" + shortEnd + "after\n"))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "old")
	assert.Regexp(t, "(?s)^before\n<.*\\| packetstream \\| 0.04 .*after\n$", string(text))
	again, err := r.ReplaceShort(text)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again))
	_, err = r.ReplaceShort([]byte("no place"))
	assert.ErrorContains(t, err, "no place between")
}

func TestPlotIsXML(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, results().WriteSVG(&b))
	d := xml.NewDecoder(&b)
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestShownNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1234.5: "1234", 12.34: "12.3", 1.234: "1.23", .1234: "0.12", .01234: "0.012"} {
		assert.Equal(t, want, digits(v))
	}
	assert.Equal(t, "2", short(2.04))
	assert.Equal(t, "2.1", short(2.06))
	assert.Equal(t, ".52", ratioText(.521))
	assert.Equal(t, ".004", ratioText(.0041))
	assert.Equal(t, "16 B both ways ×64", CellName(peer.Cell{Size: 16, InFlight: 64, Both: true}))
	assert.Equal(t, "16 B ×100, 100 connections", CellName(peer.Cell{Size: 16, InFlight: 100, Conns: 100}))
}
