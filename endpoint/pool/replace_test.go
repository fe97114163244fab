//go:build linux

package pool_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// A deploy loses no call: what was asked before is answered by the old children, what comes after by the new ones.
func TestReplaceUnderLoad(t *testing.T) {
	p := start(t, pool.Options{Size: 2})
	old := map[int]bool{}
	for _, s := range p.Status() {
		old[s.Child.PID()] = true
	}
	slow, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 300})
	require.NoError(t, err)
	stop := make(chan struct{})
	var asked atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := p.Do(childtest.Soon(t), pconn.Request{Payload: []byte("x")})
				if !assert.NoError(t, err) {
					return
				}
				asked.Add(1)
			}
		})
	}
	for range 2 {
		require.NoError(t, p.Replace(childtest.Soon(t)))
	}
	close(stop)
	load.Wait()
	require.Greater(t, asked.Load(), int64(10))
	resp, err := slow.Wait(childtest.Soon(t))
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(resp.Payload))
	require.NoError(t, err)
	require.True(t, old[pid])
	for _, s := range p.Status() {
		require.False(t, old[s.Child.PID()])
		require.Equal(t, 2, s.Restarts)
	}
	require.NoError(t, p.Close())
}

func TestReplaceFails(t *testing.T) {
	var broken atomic.Bool
	good := command(filepath.Join(t.TempDir(), "none"))
	p, err := pool.Start(t.Context(), func() *exec.Cmd {
		if broken.Load() {
			return exec.Command("/no/such/program")
		}
		return good()
	}, nil)
	require.NoError(t, err)
	defer p.Close()
	pid := pidOf(t, p)
	broken.Store(true)
	require.ErrorIs(t, p.Replace(childtest.Soon(t)), os.ErrNotExist)
	require.Equal(t, pid, pidOf(t, p), "the old one stays")

	broken.Store(false)
	slow, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, p.Replace(ctx))
	_, err = slow.Wait(childtest.Soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
	require.NotEqual(t, pid, pidOf(t, p))
}

// A child that goes away finishes what it has, another takes its place, and no call is lost.
func TestChildGoesAway(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	slow, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 300})
	require.NoError(t, err)
	_, err = p.Do(childtest.Soon(t), pconn.Request{Type: typeGoAway})
	require.NoError(t, err)
	require.NotEqual(t, first, pidOf(t, p))
	resp, err := slow.Wait(childtest.Soon(t))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(first), string(resp.Payload))
	require.NoError(t, p.Close())
}
