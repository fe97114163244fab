// Package tick reports the activity of a connection as it happens, one short symbol for each event:
//
//	<     a packet was received
//	>     a packet was sent
//	Sg    a grace wait begins, before a flush
//	F     what was sent is flushed
//	>EOF  the end of sending was sent
//
// The symbols are those of the Python package cs.packetstream in its releases 20191004 and 20211208, which wrote
// each to descriptor 2 with os.write.
//
// A connection is given a func([]byte), [Stderr] or any other, as pconn.Options.Tick. A tick never delays a packet: a [Ticker]
// calls the function on a goroutine of its own, and drops and counts what the function is too slow for.
package tick
