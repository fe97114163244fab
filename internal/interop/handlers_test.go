package interop

import (
	"bytes"
	"context"
	"math/big"
	"runtime"
	"sync/atomic"

	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// handlers are the handlers by their names in the recordings, and the service behind them that counts.
func handlers(name string) (pconn.Handler, *testservice.Service) {
	service := testservice.New("")
	switch name {
	case "none":
		return nil, service
	case "odd":
		return pconn.Adapt(odd), service
	case "exits":
		return pconn.HandlerFunc(exits), service
	}
	return service, service
}

// odd returns the nearest that Go has to what the recording's handler returned.
func odd(_ context.Context, req *pconn.Request) (any, error) {
	notBytes := bytes.NewBufferString("ab") // for bytearray and memoryview, which are not bytes
	return []any{
		true,
		-1,
		notBytes,
		[2]any{1, "text"},
		[2]any{"x", []byte{}},
		[]any{1, 2, 3},
		[]any{7, []byte("list")},
		2.5,
		[2]any{3, notBytes},
		[2]any{true, []byte("bool")},
		new(big.Int).Lsh(big.NewInt(1), 70),
		false,
	}[req.Type], nil
}

// exits ends its goroutine, as SystemExit ends a thread.
func exits(context.Context, *pconn.Request) (pconn.Reply, error) {
	runtime.Goexit()
	panic("unreachable")
}

// counting counts the requests that reached a handler.
type counting struct {
	pconn.Handler
	begun atomic.Int64
}

func (c *counting) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	c.begun.Add(1)
	return c.Handler.ServePacket(ctx, req)
}
