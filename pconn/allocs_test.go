//go:build !race

package pconn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// A call takes one allocation of its caller's end, for the answer, and two of the other, for the request and its
// payload; a marked handler takes none, and DoInto none. Both ends are in this process, with a context that
// can be cancelled. What the runtime does now and then by itself is less than one in all. The race detector allocates
// too, so there is no such test with it.
func TestAllocationsOfCalls(t *testing.T) {
	for name, c := range map[string]struct {
		opts *pconn.Options
		into bool
		want float64
	}{
		"any handler":                        {serve(echo), false, 3},
		"any handler, into a buffer":         {serve(echo), true, 2},
		"a marked handler":                   {marked(echo), false, 1},
		"a marked handler, into a buffer":    {marked(echo), true, 0},
		"a marked handler of a mux, into it": {&pconn.Options{Handler: muxOf(pconn.NonBlocking(pconn.HandlerFunc(echo)))}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := pipes(t, nil, c.opts)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			payload, buf := pattern(16), make([]byte, 0, 64)
			call := func() {
				var err error
				if c.into {
					_, err = a.DoInto(ctx, buf, pconn.Request{Payload: payload})
				} else {
					_, err = a.Do(ctx, pconn.Request{Payload: payload})
				}
				if err != nil {
					t.Error(err)
				}
			}
			for range 2000 {
				call() // pools fill, and the handler's type becomes known
			}
			require.Equal(t, c.want, testing.AllocsPerRun(2000, call))
		})
	}
}

func muxOf(h pconn.Handler) *pconn.Mux {
	mux := pconn.NewMux()
	mux.Handle(0, h)
	return mux
}
