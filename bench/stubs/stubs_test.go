package stubs

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain lets the test program stand for the process that answers.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == AnswererCommand {
		if err := Answer(os.Args[2]); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestEverySystemIsMeasuredInEveryCell(t *testing.T) {
	times := Times{Warm: 5 * time.Millisecond, Time: 100 * time.Millisecond}
	var results Results
	for _, system := range All() {
		for _, cell := range Cells() {
			for _, apart := range []bool{false, true} {
				if !system.Fits(cell) {
					continue
				}
				s, err := Measure(t.Context(), system, cell, apart, times)
				require.NoError(t, err, "%s, %s", system.Name, cell.Name)
				require.Positive(t, s.Ops)
				require.Positive(t, s.Micros)
				require.Positive(t, s.Allocs)
				results = append(results, s)
			}
		}
	}
	var out strings.Builder
	require.NoError(t, results.Write(&out))
	for _, want := range []string{Ours, GRPCSock, "two processes", "unary, 100 B, alone: allocations of grpc-go, pipes"} {
		require.Contains(t, out.String(), want)
	}
}

func TestGoalsAreOfOneRound(t *testing.T) {
	cell := Cells()[0].Name
	results := Results{
		{System: Ours, Cell: cell, Round: 0, Micros: 10, Allocs: 10}, {System: GRPCPipe, Cell: cell, Round: 0, Micros: 40, Allocs: 20},
		{System: Ours, Cell: cell, Round: 1, Micros: 30, Allocs: 10}, {System: GRPCPipe, Cell: cell, Round: 1, Micros: 90, Allocs: 20},
		{System: Ours, Cell: cell, Round: 2, Micros: 99, Allocs: 10},
	}
	q, ok := results.ratio(Ours, GRPCPipe, cell, false, micros)
	require.True(t, ok)
	require.InDelta(t, (1.0/4+1.0/3)/2, q.median, 1e-9)
	require.InDelta(t, 1.0/4, q.low, 1e-9)
	var out strings.Builder
	require.NoError(t, results.Write(&out))
	require.Regexp(t, `time of grpc-go, pipes +one process +0\.50 +0\.29 .* met`, out.String())
	require.Regexp(t, `allocations of grpc-go, pipes +one process +0\.33 +0\.50 .* not met`, out.String())
}

func TestNamesThatAreNone(t *testing.T) {
	_, err := Find("nobody")
	require.Error(t, err)
	_, err = FindCells("nothing")
	require.Error(t, err)
	found, err := FindCells("ping")
	require.NoError(t, err)
	require.Len(t, found, 1)
}
