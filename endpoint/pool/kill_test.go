//go:build linux

package pool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestKillsUnderLoad(t *testing.T) { killUnderLoad(t, 2*time.Second) }

// killUnderLoad kills one of four children every 100 ms. Every call ends: one that may be repeated with its answer, any
// other with that or with an error which says which child died of what.
func killUnderLoad(t *testing.T, d time.Duration) {
	p := start(t, pool.Options{Size: 4})
	stop := make(chan struct{})
	var answered, failed, repeatable atomic.Int64
	var load sync.WaitGroup
	for i := range 16 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprint(i, " ", n)
				req := pconn.Request{Payload: []byte(want), Idempotent: i%2 == 0}
				if n%10 == 0 {
					req.Type, req.Flags = typeSleep, 20
				}
				resp, err := p.Do(childtest.Soon(t), req)
				var exit *endpoint.ExitError
				switch {
				case err == nil:
					answered.Add(1)
					if req.Type == typeEcho {
						assert.Equal(t, want, string(resp.Payload))
					}
					if req.Idempotent {
						repeatable.Add(1)
					}
				case req.Idempotent:
					assert.NoError(t, err, "it may be repeated")
				case assert.True(t, errors.As(err, &exit), "%v", err):
					assert.Equal(t, syscall.SIGKILL, exit.Signal, "%v", err)
					assert.Positive(t, exit.PID)
					failed.Add(1)
				}
			}
		})
	}
	kills := 0
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-ticker.C {
		if c := p.Status()[rand.IntN(4)].Child; c != nil && c.Signal(syscall.SIGKILL) == nil {
			kills++
		}
	}
	close(stop)
	load.Wait()
	restarts := 0
	for _, s := range p.Status() {
		restarts += s.Restarts
	}
	t.Logf("%d kills, %d restarts; %d calls answered, %d of them repeatable; %d failed", kills, restarts, answered.Load(), repeatable.Load(), failed.Load())
	require.Greater(t, kills, int(d/time.Second))
	require.GreaterOrEqual(t, restarts, kills/2)
	require.Positive(t, failed.Load(), "some were written to a child that was killed")
}
