package endpoint

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeGroup ends as it is told.
type fakeGroup struct {
	began    time.Time
	got      []syscall.Signal
	when     []time.Duration
	onSignal func(syscall.Signal)
}

func (g *fakeGroup) signal(s syscall.Signal) error {
	g.got = append(g.got, s)
	g.when = append(g.when, time.Since(g.began))
	if g.onSignal != nil {
		g.onSignal(s)
	}
	return nil
}

func TestClimb(t *testing.T) {
	const s = time.Second
	stop := Stop{EOF: 3 * s, Term: 2 * s, Kill: 1 * s}
	for name, test := range map[string]struct {
		stop     Stop
		exited   time.Duration // when the child exits by itself, 0 before, negative never
		released time.Duration // when its pipes are released by themselves
		diesOf   syscall.Signal
		dropsOf  syscall.Signal // when the rest of the group lets go
		step     Step
		signals  []syscall.Signal
		took     time.Duration
	}{
		"ended before":               {stop, 0, 0, 0, 0, StepNone, []syscall.Signal{syscall.SIGKILL}, 0},
		"ends at the end of input":   {stop, s, s, 0, 0, StepEOF, []syscall.Signal{syscall.SIGKILL}, s},
		"ends of SIGTERM":            {stop, -1, -1, syscall.SIGTERM, syscall.SIGTERM, StepTerm, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, 3 * s},
		"ends late after SIGTERM":    {stop, 4 * s, 4 * s, 0, 0, StepTerm, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, 4 * s},
		"ends of SIGKILL":            {stop, -1, -1, syscall.SIGKILL, syscall.SIGKILL, StepKill, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}, 5 * s},
		"does not end":               {stop, -1, -1, 0, 0, StepKill, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}, 6 * s},
		"no time":                    {Stop{-1, -1, -1}, -1, -1, 0, 0, StepKill, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}, 0},
		"left something":             {stop, 0, -1, 0, syscall.SIGTERM, StepNone, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, lingerMoment},
		"left something for good":    {stop, 0, -1, 0, 0, StepNone, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}, lingerMoment + 3*s},
		"leaves something":           {stop, s, -1, 0, syscall.SIGKILL, StepEOF, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL}, s + lingerMoment + 2*s},
		"ended, pipes a little late": {stop, 0, lingerMoment / 2, 0, 0, StepNone, []syscall.Signal{syscall.SIGKILL}, lingerMoment / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exited, released := make(chan struct{}), make(chan struct{})
				closeAt(exited, test.exited)
				closeAt(released, test.released)
				g := &fakeGroup{began: time.Now()}
				g.onSignal = func(s syscall.Signal) {
					if s == test.diesOf {
						closeOnce(exited)
					}
					if s == test.dropsOf {
						closeOnce(released)
					}
				}
				require.Equal(t, test.step, climb(g, exited, released, test.stop))
				require.Equal(t, test.took, time.Since(g.began))
				require.Equal(t, test.signals, g.got)
			})
		})
	}
}

func closeAt(c chan struct{}, d time.Duration) {
	switch {
	case d == 0:
		close(c)
	case d > 0:
		time.AfterFunc(d, func() { closeOnce(c) })
	}
}

func closeOnce(c chan struct{}) {
	if !isClosed(c) {
		close(c)
	}
}

func TestStopDefaults(t *testing.T) {
	s, err := Stop{Term: -1}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, Stop{EOF: DefaultStopEOF, Term: -1, Kill: DefaultStopKill}, s)
	_, err = Stop{EOF: MaxStop + 1}.withDefaults()
	require.ErrorContains(t, err, "Stop.EOF")
}
