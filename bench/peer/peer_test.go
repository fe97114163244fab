package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// openPair opens both ends of a peer in this process.
func openPair(t *testing.T, p *Peer, cell Cell) (caller, answerer Conn) {
	t.Helper()
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	var wg sync.WaitGroup
	var answererErr error
	wg.Go(func() { answerer, answererErr = p.Open(Answerer, r1, w2, cell) })
	caller, err = p.Open(Caller, r2, w1, cell)
	wg.Wait()
	require.NoError(t, errors.Join(err, answererErr))
	t.Cleanup(func() { _ = errors.Join(caller.Close(), answerer.Close()) })
	return caller, answerer
}

func TestEveryPeerEchoes(t *testing.T) {
	for _, p := range All() {
		if p.Python != nil || p.Name == Ceiling || p.Blocking {
			// A read that blocks outlives its descriptor, and would take what comes to the next one of that number: this
			// peer is for a process of its own, where package main's test has it.
			continue
		}
		for _, cell := range []Cell{{Size: 16, InFlight: 1}, {Size: 100 << 10, InFlight: 1}, {Size: 1 << 10, InFlight: 16}} {
			if p.WhyNot(cell) != "" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%dx%d", p.Name, cell.Size, cell.InFlight), func(t *testing.T) {
				caller, answerer := openPair(t, p, cell)
				echoes(t, caller, cell)
				if p.Symmetric {
					echoes(t, answerer, cell)
				}
			})
		}
	}
}

// echoes calls from as many goroutines as the cell says.
func echoes(t *testing.T, c Conn, cell Cell) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range cell.InFlight {
		wg.Go(func() {
			payload := make([]byte, cell.Size)
			_, _ = rand.Read(payload) // it never fails
			buf := make([]byte, 0, cell.Size+64)
			for range 5 {
				payload[0]++
				reply, err := c.Call(ctx, payload, buf)
				if assert.NoError(t, err) {
					assert.True(t, bytes.Equal(payload, reply), "%d bytes came back as %d others", len(payload), len(reply))
				}
			}
		})
	}
	wg.Wait()
}

func TestWindow(t *testing.T) {
	for _, cell := range []Cell{{Size: 16, InFlight: 1}, {Size: 16, InFlight: 64}, {Size: 100_000, InFlight: 3}} {
		found, err := Find(Ceiling)
		require.NoError(t, err)
		caller, _ := openPair(t, found[0], cell)
		frame := make([]byte, cell.Size)
		_, _ = rand.Read(frame)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err = caller.(Streamer).Stream(ctx, frame, cell.InFlight, func(frames int) {
			n += frames
			if n >= 10*cell.InFlight {
				cancel()
			}
		})
		assert.ErrorIs(t, err, context.Canceled)
		assert.GreaterOrEqual(t, n, 10*cell.InFlight)
	}
}

func TestFind(t *testing.T) {
	found, err := Find(Default, Floor)
	require.NoError(t, err)
	assert.Equal(t, []string{Default, Floor}, []string{found[0].Name, found[1].Name})
	_, err = Find("none")
	assert.Error(t, err)
}

func TestFrames(t *testing.T) {
	frame := appendFrame(nil, []byte("hello"))
	got, err := readFrame(bytes.NewReader(frame), nil)
	require.NoError(t, err)
	assert.Equal(t, frame, got)
	_, err = readFrame(bytes.NewReader([]byte{0xff, 0, 0, 0}), nil)
	assert.Error(t, err, "a length over the limit")
	_, err = readFrame(bytes.NewReader(frame[:6]), nil)
	assert.Error(t, err, "a frame that is cut")
}

// TestPythonProcessesKeepApart wants each process told of another processor, in the cells where that matters.
func TestPythonProcessesKeepApart(t *testing.T) {
	found, err := Find("python-g0-apart", "python-g0")
	require.NoError(t, err)
	require.Equal(t, []string{"--grace", "0", "--cpu", "0"}, found[0].Python.options(0))
	require.Equal(t, []string{"--grace", "0", "--cpu", "1"}, found[0].Python.options(1))
	require.Equal(t, []string{"--grace", "0"}, found[1].Python.options(0))
	if runtime.GOOS == "linux" {
		require.Empty(t, found[0].WhyNot(Cell{Size: 16, InFlight: 64}))
	}
	require.NotEmpty(t, found[0].WhyNot(Cell{Size: 16, InFlight: 1}))
	require.NotEmpty(t, found[0].WhyNot(Cell{Size: 64 << 10, InFlight: 64}))
	require.Empty(t, found[1].WhyNot(Cell{Size: 64 << 10, InFlight: 64}))
}
