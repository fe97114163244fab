// Package packet is the wire format of packet connections: values in, bytes out, and back.
//
// A packet is a length followed by that many bytes:
//
//	packet  := length tag bits [channel] [type] payload
//	bits    := flags<<2 | request<<1 | has-channel
//
// Every number is a BSUint: big-endian groups of seven bits, the high bit set on all octets but
// the last. The channel is written only when it is not 0, the type only in requests. A request's
// type on the wire is the application's type plus one; type 0 is kept for the two requests that
// belong to the connection itself, [EOF] and [ERQ]. In a response bit 0 of the flags says "ok",
// and the application's flags are the rest. These two shifts belong to whoever speaks of requests
// and responses (package pconn): a [Packet] holds what is on the wire.
//
// The format is that of the Python package cs.packetstream, releases 20240412 and 20240630.
// Where this package is narrower than they are: numbers are held in 64 bits, a single number takes
// at most [MaxNumber] octets however over-long its form, and a payload has at most [MaxPayload]
// bytes. Anything beyond is a [*FormatError].
//
// Nothing here starts a goroutine, logs or keeps state, so everything may be called concurrently
// on distinct values. Encoding and decoding take no memory besides growing the destination.
package packet
