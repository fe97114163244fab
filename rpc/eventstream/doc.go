// Package eventstream speaks the event-stream message format and the event-stream RPC protocol, as client
// and as server, with the peers that use the AWS Common Runtime (CRT) for it: its Python, Java, C++ and Node
// bindings, and with them Greengrass's IPC. It runs over any io.ReadWriteCloser: TCP, TLS, Unix sockets, a
// subprocess's pipes, a stream of a packet connection.
//
// # Messages
//
// A message has typed headers and a payload, and a checksum over its prelude and over all of it:
//
//	0   total length, all included (all integers are big-endian)
//	4   headers length
//	8   CRC-32 of bytes 0 to 7
//	12  headers: name length (1), name, type (1), value
//	…   payload
//	…   CRC-32 of all before
//
// AppendFrame and ParseFrame encode and decode one message, a Decoder reads them from a stream. They give no
// meaning to headers and serve the format wherever else it is used.
//
// # RPC
//
// The RPC protocol puts ":message-type", ":message-flags" and ":stream-id" into every message. A client sends
// CONNECT and waits for an accepting CONNECT_ACK. Then it opens streams, numbered 1, 2, 3 and so on, each for a
// named operation. Either end sends messages on a stream until one of them sets FlagTerminateStream, which ends
// the stream in both directions: there is no half-close. The connection ends by closing the transport.
//
// Dial and NewClient give a connection whose handshake is done. ClientConn.Call is one request and its reply,
// ClientConn.OpenStream a stream with Send and Recv. Below that is the form that programs for the CRT know:
// NewConn with a ConnHandler, SendProtocolMessage, NewStream, Activate and SendMessage, all with callbacks.
// A Server calls a Handler for each stream; a Mux chooses it by operation.
//
// # Order and backpressure
//
// The callbacks of a client connection run on one goroutine: Setup first, then messages in the order they came,
// flush notifications in the order of the sends, for each stream its messages and then once Closed, after a
// terminating send Closed before that send's notification, Shutdown last. Streams never activated get no call. A
// notification may come after the answer to what it is about.
//
// The protocol has no flow control but the transport's. What a connection has received and nobody has taken
// counts against Options.ReceiveQueue; above it, nothing more is read, for any of its streams, until a handler or a
// Recv takes something. What was accepted and is not yet written counts against Options.SendQueue; above it the methods with
// a context wait, and those without return ErrQueueFull. So a slow handler, or a stream that is neither read nor
// closed, holds back its own connection and nothing else. A peer that has pings answered and does not read the answers loses
// its connection.
//
// A server runs a handler on the goroutine that receives where it can. If the handler then waits for something other than
// its own stream, or takes long, the connection's other streams wait for it: for 10 ms at most, 25 ms on a connection
// whose handlers have long all returned at once. Then another goroutine receives, and the operation's next streams,
// twice as many each time, get goroutines at once.
//
// # Differences from the reference
//
// The reference is the CRT's C library. The wire is the same, byte for byte, save for what follows. All of it is
// on purpose.
//
//   - A header of an undefined type is refused as any malformed header is, by INTERNAL_ERROR and the end of the
//     connection. The reference's client loses the message without a word, its Java server dies.
//   - String headers and names are passed on as they are, UTF-8 or not, and names up to 255 bytes. Its bindings
//     lose such messages.
//   - A Handler can refuse a stream (ErrRefuseStream). In the reference's Java binding that ends the process.
//   - A server answers PING, and a client that has no callback for messages of the connection does. There, that
//     is the application's business.
//   - After a terminating message nothing more can be sent on the stream from the call on, instead of from the moment it
//     was written: a message in between makes the server end the connection. For a Stream nothing more is received
//     from then on either.
//   - What the peer would answer by ending the connection is refused before it is sent, and the connection lives on: a
//     type that does not belong on a stream or on the connection, an operation of "", a message at the wrong point
//     of the handshake, more than 1024 headers. There, a message at the wrong point of the handshake closes the connection.
//   - Close writes what was accepted before it closes, for at most a second, and its reason is always nil. There, Close gives
//     up what is queued, and a message of the connection that was given up becomes the reason.
//   - A connection that the peer closed after a PROTOCOL_ERROR or INTERNAL_ERROR ends with a *PeerError that holds it.
//     It is an ErrPeerClosed too, which is all that the reference says.
//   - After a rejecting CONNECT_ACK, which clients see as the end of the connection, and after a fatal error a server
//     waits for the client to close before it does (Server.Linger): a client that sees the socket close first may lose the reason.
//   - A server closes the socket under TLS without TLS's close_notify, for the reference's client takes that for its own wish
//     to close.
//   - A panic in a callback or a handler ends the program, as everywhere in Go. There, an exception in the setup callback
//     closes the connection, and one in any other is printed and ignored.
//   - Replies on different streams may come in another order than the requests, for handlers run concurrently.
//   - Limits that the reference does not have: queues, streams per connection, the time for the handshake and for a write.
//
// What is kept although one might wish otherwise: a message that a client sends while the server's terminating one
// is under way to it makes the server end the connection, unless it terminates the stream too; text that
// is not JSON in one of the errors; and that a message for a stream may name it in a header of the application's.
package eventstream
