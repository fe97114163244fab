//go:build linux

package pool_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// A child that gives no sign of life is killed, and whoever waited for it is told why.
func TestUnhealthyChildIsReplaced(t *testing.T) {
	p := start(t, pool.Options{
		HealthEvery: 20 * time.Millisecond, HealthTimeout: 100 * time.Millisecond,
		Healthy: func(ctx context.Context, c *endpoint.Child) error {
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
	})
	pid := pidOf(t, p)
	stopProcess(t, pid)
	_, err := p.Do(childtest.Soon(t), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, syscall.SIGKILL, exit.Signal)
	require.Equal(t, pid, exit.PID)
	require.NotEqual(t, pid, pidOf(t, p))
	require.ErrorContains(t, p.Status()[0].Err, "not healthy")
	require.ErrorIs(t, p.Status()[0].Err, context.DeadlineExceeded)
}

// Health is asked by a ping, if nothing else is said, and not of a child that has none.
func TestHealthByPing(t *testing.T) {
	p := start(t, pool.Options{HealthEvery: 10 * time.Millisecond, HealthTimeout: 2 * time.Second})
	pid := pidOf(t, p)
	require.Never(t, func() bool { return p.Status()[0].Restarts > 0 }, 100*time.Millisecond, 10*time.Millisecond)
	stopProcess(t, pid)
	require.NotEqual(t, pid, pidOf(t, p))
	require.ErrorContains(t, p.Status()[0].Err, "not healthy")
	require.NoError(t, p.Close())

	p = start(t, pool.Options{HealthEvery: time.Millisecond, Start: endpoint.StartOptions{Conn: pconn.Options{Extensions: pconn.ExtensionsOff}}})
	require.Never(t, func() bool { return p.Status()[0].Restarts > 0 }, 50*time.Millisecond, 10*time.Millisecond)
}
