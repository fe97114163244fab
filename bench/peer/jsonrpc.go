package peer

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/sourcegraph/jsonrpc2"
)

// jsonRPCPeer is sourcegraph/jsonrpc2 with the header-framed codec of language servers over its buffered stream. The
// payload is a JSON string in base64, as encoding/json has bytes. The handler answers on the receiving
// goroutine unless both ends call, where that would stop both.
func jsonRPCPeer() *Peer {
	return &Peer{Name: "jsonrpc2", Kind: Rival, Module: "github.com/sourcegraph/jsonrpc2", Symmetric: true, Open: openJSONRPC,
		Unfit: func(c Cell) string {
			if c.Size > 64<<10 && c.InFlight > 1 || c.Size*c.InFlight > 8<<20 {
				return "a call takes seconds"
			}
			return ""
		}}
}

func openJSONRPC(_ Side, r, w *os.File, cell Cell) (Conn, error) {
	var h jsonrpc2.Handler = jsonrpc2.HandlerWithError(func(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) (any, error) {
		if req.Params == nil {
			return nil, errors.New("no params")
		}
		return json.RawMessage(*req.Params), nil
	}).SuppressErrClosed()
	if cell.Both {
		h = jsonrpc2.AsyncHandler(h)
	}
	stream := jsonrpc2.NewBufferedStream(&files{r: r, w: w}, jsonrpc2.VSCodeObjectCodec{})
	return jsonConn{jsonrpc2.NewConn(context.Background(), stream, h)}, nil
}

type jsonConn struct{ conn *jsonrpc2.Conn }

func (c jsonConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	var reply []byte
	err := c.conn.Call(ctx, "echo", payload, &reply)
	return reply, err
}

func (c jsonConn) Close() error { return c.conn.Close() }
