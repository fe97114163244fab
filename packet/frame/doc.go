// Package frame is the frames of the reserved channel: what extends the packet protocol by
// cancellation, deadlines, metadata, streams and more. Each frame is an ordinary packet on channel
// [Channel], whose type is the frame's [Kind] and whose tag is what it is about.
//
// Payloads are [Hello], [Headers], [Cancel] and [GoAway]: bytes in, values out, as package packet, with no
// goroutines and no I/O. docs/PROTOCOL.md, chapter 12, has them in full.
package frame
