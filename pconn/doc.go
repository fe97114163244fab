// Package pconn is packet connections: many requests in flight, both ways, over one pair of byte
// streams.
//
// Both ends of a [Conn] may send requests at any time. Each request carries a tag, and its response
// finds the waiting caller by that tag. What the other end asks is answered by a [Handler]:
//
//	conn, err := pconn.New(in, out, &pconn.Options{Handler: mux})
//	defer conn.Close()
//	resp, err := conn.Do(ctx, pconn.Request{Type: greet, Payload: []byte("Ada")})
//
// Here in and out are the two ends of a byte stream, a bufio.Input and a bufio.Output of this module's
// package bufio; its NewInput and NewOutput take any reader and writer. [Pipe] returns two ends that
// are connected in memory. How a connection comes about over a subprocess's standard input and output,
// descriptors and sockets is package endpoint's.
//
// The wire format and its rules are those of the Python package cs.packetstream, which comments here
// call the reference; docs/PROTOCOL.md has them in full.
//
// # Requests
//
// [Conn.Do] waits for the response, [Conn.Submit] returns a [Result] at once, and [Conn.Notify] drops
// the response. [Conn.Attempt] and [Result.Sent] tell of a request that failed whether it can have reached
// the peer. A request carries a type, flags and a payload; types are the application's, from 0
// up. A [Channel] is a second set of types and tags on the same connection. [Call] and [Typed] do the
// same with values, by a [Codec].
//
// # Handlers
//
// A handler answers with a [Reply]: nothing, flags, bytes, text, or flags and bytes. An error made by
// [Errorf] is told to the peer, any other is not. Handlers run concurrently, and may call back on
// the connection they were called by, to any depth. [Mux] chooses a handler by the request's type.
//
// As many handlers are at work as there are places, Options.MaxHandlers; further requests wait for
// one. A handler that waits in a call on its own connection gives its place away meanwhile, which is
// why it has to call with the context it was given.
//
// # What goes with a request
//
// Between two ends that have the extensions (Options.Extensions) the end of a caller's context reaches the
// handler's, with its cause, a [*CancelError]; so does its deadline. Requests and answers carry [Metadata],
// errors made by [NewError] a code and details, which the caller finds in a [*RemoteError]. [Conn.Ping] takes the
// time to the peer and back, Options.Keepalive ends a connection that has gone silent, and [Conn.GoAway] takes no
// new work while the old is finished.
//
// An end says what it has in one HELLO, by default when something first needs the extensions. A peer without
// them, as the reference, is never told of cancellation and deadlines; what cannot do without fails with
// [ErrNoExtensions].
//
// # Streams
//
// A [Stream] is a net.Conn: bytes both ways beside the requests, any number of streams at a time, none of which
// holds up another or a request. [Conn.OpenStream] opens one by a name, [Conn.DialContext] does it for
// what wants a dialer, such as http.Transport; at the other end a [StreamHandler] takes it, or a
// [Listener], which http.Serve and the like want:
//
//	listener, err := conn.Listen("")
//	go http.Serve(listener, nil)
//
//	client := http.Client{Transport: &http.Transport{DialContext: conn.DialContext}}
//
// [Stream.Messages] keeps the boundaries of messages. Streams are an extension of the protocol: with a peer
// that has none they fail with [ErrNoExtensions].
//
// # Files
//
// Over a Unix socket, on Linux, open files go with requests and answers ([Request].Files, [Reply.WithFiles]) to an end that takes
// them (Options.MaxFiles). A handler's are closed when it returns, unless it has called [Request.TakeFiles]; the caller
// closes those of a [Response]. Over anything else such a call fails with a [*FilesError].
//
// # The way of a request
//
// To read how it works, follow a request from state.go, which has everything in flight. Do (call.go)
// makes a call record, send (send.go) gives it a tag and a slot (calltable.go) and appends its packet
// to the pending batch, and writeCycle (write.go) writes that. At the other end receive (recv.go) parses
// the header, and request finds its handler; judge (serve.go) finds the reason to reject it, if there is one,
// once its payload is there, or before where that has to be waited for; admit registers it (incoming.go), and
// accept begins the handler, on the receiving goroutine as a rule (inline.go). finish has the answer
// appended by respond (send.go). Back here response (response.go) claims the call by its tag and completes it,
// which wakes Do.
//
// Beside that way are room.go, where callers and answers wait for room; memory.go, which lends the callers'
// memory to reads and writes and has it back; contexts.go, which looks after the callers' contexts; lonecall.go,
// where a caller that is alone receives for itself; portion.go, how many packets make a write; handlerctx.go, the
// context that tells whose handler calls; handlererror.go, what becomes of a handler's error; nonblocking.go, a
// shorter way for handlers that never wait; and limits.go, every bound. A connection begins in conn.go and junk.go,
// where its first packet is looked at, and ends in end.go, as state.go's phases have it; caller.go finds out for
// Close whether a handler calls it.
//
// The extensions begin in extension.go, which sorts the frames of the reserved channel, and hello.go. What
// each frame does is in cancel.go, headers.go, files.go, pieces.go, ping.go, keepalive.go and goaway.go.
//
// Streams are read in this order: stream.go is what their users see, streams.go what a connection knows of
// them, streamstate.go and window.go the two tables of what may be done, streamrecv.go what the receiver does
// with their frames, streamdata.go with their data and streamgive.go when it wakes who reads that, streamlead.go,
// leadread.go and leadwrite.go when a Read or a Write receives for itself, streambuffer.go where their bytes wait,
// streamsend.go and turns.go how frames are made when they are about to leave. streamopen.go, streamserve.go and
// listener.go are their beginning, messages.go is what is built on them.
//
// # Bounds
//
// What one end may have outstanding is what the other accepts: 16,384 requests and 64 MiB of their
// payloads. Past that our own callers wait, in order, until their contexts end, and a peer's request
// is rejected with a text that names the limit. A peer that goes on regardless, or does not read its
// rejections, loses the connection with a [*LimitError]. A packet over Options.MaxPayload fails
// its own call only.
//
// # The end
//
// [Conn.Shutdown] finishes what is outstanding, [Conn.Close] does not. The end of a connection is one
// error for everybody that waits for something: [ErrClosed], [ErrPeerClosed], a [*ProtocolError] that
// quotes what is no packet, a [*LimitError], [ErrPeerGone]; [Conn.Err] has them all. No method hangs on a peer that stopped
// reading or writing: what waits ends with its context or within Options.DrainTimeout and
// CloseTimeout. A write or read that cannot be interrupted, on a reader or writer which is neither a
// descriptor nor has deadlines, is left behind until it returns.
package pconn
