// Package prpc speaks the protocol of the Python library pRpc 1.1.0
// (datadvance/pRpc): msgpack messages over a WebSocket, or over any byte stream,
// with unary calls and with input, output and bidirectional streams.
//
// The protocol is symmetric. After a handshake, which the client begins, either
// end calls the methods the other one exposes:
//
//	conn, err := prpc.Dial(ctx, "ws://localhost:8080/", nil)
//	if err != nil { … }
//	defer conn.Close()
//	sum, err := prpc.Invoke[int](ctx, conn, "math.add", 1, 2)
//
// A server is an http.Handler with a tree of methods, which are plain Go
// functions or the exported methods of an object:
//
//	methods, err := prpc.NewTree(prpc.Tree{
//		"ping": func() string { return "pong" },
//		"math": prpc.Tree{"add": func(a, b int) int { return a + b }},
//	})
//	server := prpc.NewServer(&prpc.Options{Methods: methods})
//	http.ListenAndServe("localhost:8080", server)
//
// # Calls and streams
//
// Conn.Call makes a unary call. Conn.Start begins a call of any type and returns
// a Call, whose Stream carries messages while the call runs:
//
//	call, err := conn.Start(ctx, prpc.BiStream, "echo.duplex")
//	if err != nil { … }
//	defer call.Cancel()
//	err = call.Stream().Send(ctx, "hello")
//	reply, err := prpc.Recv[string](ctx, call.Stream())
//	result, err := call.Result(ctx)
//
// Directions are named from the caller's side: an IStream is read by the caller,
// an OStream is written by it. Closing a stream closes both of its directions,
// since the protocol has no half-close, and asking for the result of a call
// closes its stream: read every reply first.
//
// # Values
//
// Arguments, results, stream messages and handshake data are msgpack values. Going out,
// integers take their smallest form, floats are always 64 bits, []byte is
// binary, string is text and must be UTF-8, slices and arrays are lists, maps and
// structs are maps (fields are named by the tag `msgpack:"name,omitempty"`).
// Text-keyed maps go out in the order of their keys. Coming in, a value of
// type any is nil, bool, int64 (uint64 above its range), float64, string, []byte,
// []any, map[string]any, or Map where a key is not text. The generic functions
// (Invoke, Result, Recv, Messages) and the parameters of methods take any Go
// type and report a value that does not fit.
//
// # Messages
//
// Each message is an array. The number of fields is exact.
//
//	1  request handshake       id, [version, connection id, user data]
//	2  request call start      id, call type, method, arguments, keyword arguments
//	3  request call cancel     id
//	4  request stream message  id, data
//	5  request stream close    id
//	6  response handshake      id, [version, connection id, user data], status, error
//	7  response result         id, result, status, error
//	8  response stream message id, data
//	9  response stream close   id
//
// A request travels from the caller to the callee, a response the other way. The
// result of message 7 is packed twice: it is a binary that holds the msgpack of
// the value. An error is nil or [message, cause type, cause message, trace].
//
// # What a receiver does
//
// A message that breaks the protocol ends the connection with close code 1002
// and a *ProtocolError; pending calls fail. A message for a call that is over, or
// was never heard of, is dropped, because calls are cancelled without
// acknowledgement. Arguments that do not fit a method, an unknown method and a
// failing method are answered with a status and hurt nothing else.
//
// # Where this package differs from the original
//
// The bytes are the same. These behaviours are not:
//
//   - Receiving never stops. The original stops its whole connection for up to
//     5 s when one stream holds 32 unread messages. Here the messages are kept, up
//     to a number of bytes; a stream that nobody read for that time while more than 32
//     wait is over, with the same answer (status 30) or the same cancel.
//   - A call on a closed connection fails at once instead of hanging.
//   - An end that accepted a connection waits for the client's first message, or for
//     Options.CallDelay, before its own first call: the original loses a call that
//     comes right behind the handshake. A client of this package loses nothing.
//   - After a stream ended with its connection or its cancelled call, Recv
//     reports that error after what was buffered, not a plain end of stream.
//   - A received stream message of nil is a value, not an end. Sending one is an
//     error, as in the original.
//   - With Options.Reconnect, state Disconnected means what it says.
//   - Message size, nesting, number of elements, calls and buffers are limited (see Limits).
//   - Traces are sent only when Options.ServeTrace says so.
//   - A WebSocket close frame is answered with its own code, not always 1000.
package prpc
