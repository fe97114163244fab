package prpc_test

import (
	"context"
	"net/http"
	"runtime"

	"github.com/coder/websocket"
)

func gomaxprocs() int { return runtime.GOMAXPROCS(0) }

// bareEcho sends every message of a WebSocket back.
func bareEcho() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ctx := context.Background()
		for {
			kind, message, err := ws.Read(ctx)
			if err == nil {
				err = ws.Write(ctx, kind, message)
			}
			if err != nil {
				return
			}
		}
	})
}

// goexit ends its goroutine, as t.FailNow does.
func goexit() { runtime.Goexit() }
