package pconn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// Of many requests that one read brings the first are answered while the rest is at work.
func TestAnswersLeaveInPortions(t *testing.T) {
	for name, mark := range map[string]func(pconn.Handler) pconn.Handler{
		"marked": pconn.NonBlocking,
		"any":    func(h pconn.Handler) pconn.Handler { return h },
	} {
		t.Run(name, func(t *testing.T) {
			goOn := make(chan struct{})
			p := raw(t, &pconn.Options{Handler: mark(pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Type == 70 {
					<-goOn
				}
				return pconn.Bytes(req.Payload), nil
			}))})
			var all []byte
			for tag := uint64(10); tag < 110; tag++ {
				all = append(all, request(tag, tag-10, "x")...)
			}
			p.write(all)
			seen := map[uint64]bool{}
			read := func() {
				got := p.read()
				require.False(t, got.Request)
				require.True(t, got.Flags&1 != 0 && string(got.Payload) == "x", "%+v", got)
				require.False(t, seen[got.Tag], "answered twice")
				if name == "marked" { // no other is taken off the receiving goroutine where the machine is busy
					require.EqualValues(t, 10+len(seen), got.Tag)
				}
				seen[got.Tag] = true
			}
			portions := func() bool { // two
				for tag := uint64(10); tag < 58; tag++ {
					if !seen[tag] {
						return false
					}
				}
				return true
			}
			for !portions() {
				read()
			}
			require.False(t, seen[80])
			close(goOn)
			for len(seen) < 100 {
				read()
			}
		})
	}
}
