// Package ws carries packet connections over WebSockets. A program that imports it adds its schemes to those that
// it understands:
//
//	schemes := append(endpoint.Builtin(), ws.Schemes()...)
//	e, err := schemes.Parse("wss://example.com/packets")
//	if err != nil { … }
//	conn, err := e.Dial(ctx, nil)
//
// # On the wire
//
// The bytes of a direction are those of its binary messages, one after another; where a message begins and ends means
// nothing. A message has at most 32 KiB, which every WebSocket library takes. An empty message is the end of
// its direction, as the end of a stream is elsewhere, and leaves the other direction open; so is
// a close frame with status 1000 or 1001. A text message ends the connection with status 1003. The
// subprotocol "packetstream" is offered and chosen; a peer need not know it. Messages are not compressed.
package ws
