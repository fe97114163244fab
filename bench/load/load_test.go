package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/bench/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echoConn answers by f.
type echoConn struct {
	f     func(ctx context.Context, n uint64, payload []byte) ([]byte, error)
	calls atomic.Uint64
}

func (c *echoConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	return c.f(ctx, c.calls.Add(1), payload)
}

func (c *echoConn) Close() error { return nil }

func right(_ context.Context, _ uint64, payload []byte) ([]byte, error) {
	return bytes.Clone(payload), nil
}

var brief = Times{Warm: time.Millisecond, Time: 20 * time.Millisecond, Most: 5 * time.Second}

func TestMeasureCounts(t *testing.T) {
	c := &echoConn{f: right}
	s, err := Measure([]peer.Conn{c}, peer.Cell{Size: 32, InFlight: 4}, brief, nil)
	require.NoError(t, err)
	assert.NotZero(t, s.Calls)
	assert.LessOrEqual(t, s.Calls, c.calls.Load())
	assert.True(t, s.NoUsage)
	assert.InEpsilon(t, s.PerSec*32/1e6, s.MBs, 1e-9)
}

func TestCallersAreSpreadOverConnections(t *testing.T) {
	conns := make([]peer.Conn, 3)
	for i := range conns {
		conns[i] = &echoConn{f: right}
	}
	l := Start(conns, peer.Cell{Size: 16, InFlight: 2, Conns: 3})
	require.Eventually(t, func() bool {
		for _, c := range conns {
			if c.(*echoConn).calls.Load() == 0 {
				return false
			}
		}
		return true
	}, 5*time.Second, time.Millisecond)
	l.Stop()
	require.NoError(t, l.Err())
}

func TestWrongAnswersAreFound(t *testing.T) {
	for name, f := range map[string]func(context.Context, uint64, []byte) ([]byte, error){
		"other byte": func(_ context.Context, n uint64, p []byte) ([]byte, error) {
			p = bytes.Clone(p)
			if n == 50 {
				p[len(p)-1]++
			}
			return p, nil
		},
		"too short": func(_ context.Context, n uint64, p []byte) ([]byte, error) {
			if n == 50 {
				return p[:len(p)-1], nil
			}
			return p, nil
		},
		"of another caller": func() func(context.Context, uint64, []byte) ([]byte, error) {
			var kept atomic.Pointer[[]byte]
			return func(_ context.Context, n uint64, p []byte) ([]byte, error) {
				q := bytes.Clone(p)
				kept.CompareAndSwap(nil, &q)
				if n == 50 {
					return *kept.Load(), nil
				}
				return p, nil
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Measure([]peer.Conn{&echoConn{f: f}}, peer.Cell{Size: 16, InFlight: 2}, brief, nil)
			assert.ErrorContains(t, err, "were answered with")
		})
	}
}

func TestErrorOfACall(t *testing.T) {
	broken := errors.New("broken")
	_, err := Measure([]peer.Conn{&echoConn{f: func(context.Context, uint64, []byte) ([]byte, error) { return nil, broken }}},
		peer.Cell{Size: 16, InFlight: 1}, brief, nil)
	assert.ErrorIs(t, err, broken)
}

// TestStopEndsACallThatWaits shows that every call has a context which ends it.
func TestStopEndsACallThatWaits(t *testing.T) {
	c := &echoConn{f: func(ctx context.Context, _ uint64, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, err := Measure([]peer.Conn{c}, peer.Cell{Size: 16, InFlight: 3}, Times{Time: time.Millisecond, Most: time.Millisecond}, nil)
	assert.ErrorContains(t, err, "no call was answered")
}

func TestUsage(t *testing.T) {
	before, err := ReadUsage()
	require.NoError(t, err)
	for range 1000 {
		sink = make([]byte, 1024)
	}
	after, err := ReadUsage()
	require.NoError(t, err)
	used := after.Sub(before)
	// The runtime counts what a processor allocates span by span, so that the last ones may be counted late.
	assert.GreaterOrEqual(t, used.Objects, uint64(950))
	assert.GreaterOrEqual(t, used.Bytes, uint64(950*1024))
	assert.NotZero(t, used.Reads, "reading /proc is reading")
}

var sink []byte

func TestControl(t *testing.T) {
	askR, askW := io.Pipe()
	tellR, tellW := io.Pipe()
	done := make(chan error, 1)
	var l *Load
	go func() {
		done <- Answer(askR, tellW, func() *Load {
			l = Start([]peer.Conn{&echoConn{f: right}}, peer.Cell{Size: 16, InFlight: 1})
			return l
		})
	}()
	c := NewControl(tellR, askW)
	u, err := c.ask(orderUsage)
	require.NoError(t, err)
	assert.Zero(t, u.Calls)
	require.Eventually(t, func() bool {
		u, err = c.ask(orderStart)
		return err == nil && u.Calls > 0
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, askW.Close())
	require.NoError(t, <-done)
	l.Stop()
}

func TestTimes(t *testing.T) {
	l := &Load{callers: []*caller{{times: make([]uint32, 0, 100)}}}
	for i := range 250 {
		l.callers[0].keep(time.Duration(i+1) * time.Microsecond)
	}
	h := l.Times()
	assert.EqualValues(t, 100, h.TotalCount())
	assert.InEpsilon(t, 200e3, h.ValueAtQuantile(50), .01, "the latest hundred are kept")
}

// A process that cannot be asked is read from outside.
func TestProcess(t *testing.T) {
	own, err := ReadUsage()
	require.NoError(t, err)
	u, err := Process(os.Getpid()).ask(orderUsage)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, u.Reads, own.Reads)
	assert.GreaterOrEqual(t, u.Writes, own.Writes)
	assert.InDelta(t, own.CPU.Seconds(), u.CPU.Seconds(), 1)
	_, err = Process(0).ask(orderUsage)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
