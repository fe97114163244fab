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
// The wire format and its rules are those of the Python package cs.packetstream; docs/PROTOCOL.md has
// them in full. [Pipe] connects two ends in memory. How a connection comes about over a subprocess's
// standard input and output, descriptors and sockets is package endpoint's.
//
// # Requests
//
// [Conn.Do] waits for the response, [Conn.Submit] returns a [Result] at once, and [Conn.Notify] drops
// the response. A request carries a type, flags and a payload; types are the application's, from 0
// up. A [Channel] is a second set of types and tags on the same connection. [Call] and [Typed] do the
// same with values, by a [Codec].
//
// # Handlers
//
// A handler answers with a [Reply]: nothing, flags, bytes, text, or flags and bytes. An error made by
// [Errorf] is told to the peer, any other is not. Handlers run concurrently, and may call back on
// the connection they were called by, to any depth. [Mux] chooses a handler by the request's type.
//
// # The way of a request
//
// To read how it works, follow a request: Do (call.go) makes a call record, send (send.go) gives it a
// tag and a slot (calltable.go) and appends its packet to the pending batch, and writeCycle writes
// it. At the other end receive (recv.go) parses it, accept (serve.go) registers it (incoming.go) and
// starts its handler, and respond (send.go) appends the answer. Back here receive finds the call by
// its tag and completes it. state.go has everything in flight and the phases of the end, conn.go the
// end itself, limits.go every bound.
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
// quotes what is no packet, a [*LimitError], [ErrPeerGone]. No method hangs on a peer that stopped
// reading or writing: what waits ends with its context or within Options.DrainTimeout and
// CloseTimeout. A write or read that cannot be interrupted, on a reader or writer which is neither a
// descriptor nor has deadlines, is left behind until it returns.
package pconn
