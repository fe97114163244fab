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
			for tag := uint64(10); tag < 58; tag++ { // two portions
				p.expectResponse(tag, true, "x")
			}
			close(goOn)
			seen := map[uint64]bool{}
			for range 52 {
				seen[p.read().Tag] = true
			}
			require.Len(t, seen, 52)
		})
	}
}
