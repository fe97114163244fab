package prpc_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
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

// acceptKey is the answer to a handshake's key, RFC 6455, section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
