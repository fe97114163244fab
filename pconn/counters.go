package pconn

import "sync/atomic"

// Counters count what a connection has done. They are always on.
type Counters struct {
	// What the receiver counts comes first, and what those who send count last: they share no cache line.

	PacketsIn  atomic.Uint64 // packets received
	BytesIn    atomic.Uint64 // the bytes of those packets, headers included
	RequestsIn atomic.Uint64 // requests accepted
	FramesIn   atomic.Uint64 // frames received on the reserved channel, HELLO not counted

	Handovers     atomic.Uint64 // handlers and streams' readers that receiving did not wait for, after it had begun to
	Rejected      atomic.Uint64 // requests of the peer that were refused
	HandlerErrors atomic.Uint64 // handlers that returned an error or panicked
	Cancelled     atomic.Uint64 // requests given up by their callers
	TooLarge      atomic.Uint64 // packets skipped because of their size
	CancelsOut    atomic.Uint64 // cancellations that the peer was told
	CancelsIn     atomic.Uint64 // cancellations of the peer
	PingsOut      atomic.Uint64 // pings sent, those of Options.Keepalive included
	PingsIn       atomic.Uint64 // pings of the peer, all answered

	StreamsOut     atomic.Uint64 // streams opened
	StreamsIn      atomic.Uint64 // streams that the peer opened
	StreamsRefused atomic.Uint64 // of those, the ones that were refused at once

	FilesOut atomic.Uint64 // files sent, or queued to be
	FilesIn  atomic.Uint64 // files received

	// Drops, by kind.
	LateResponses   atomic.Uint64 // responses to requests given up, or answered before
	Unsolicited     atomic.Uint64 // responses to nothing that was ever asked
	RepeatedTags    atomic.Uint64 // requests that repeat the tag of one at work
	DroppedRequests atomic.Uint64 // requests that came when no answer could be sent any more
	LatePieces      atomic.Uint64 // pieces of responses to requests given up
	LostHeaders     atomic.Uint64 // HEADERS that the packet which they were about did not follow
	StrayCancels    atomic.Uint64 // cancellations of requests that were not at work
	UnknownFrames   atomic.Uint64 // frames of kinds that this end does not know
	StrayFiles      atomic.Uint64 // files received that nobody took, and which were closed
	LateFrames      atomic.Uint64 // frames that crossed the end of their stream
	DroppedTicks    atomic.Uint64 // ticks not taken in time
	DroppedLogs     atomic.Uint64 // log records and trace lines not taken in time

	// Packets and bytes counted as queued that were taken out again before any of them was sent, since
	// their caller gave them up. Without a failure the rest reaches the peer.
	Withdrawn, WithdrawnBytes atomic.Uint64

	PacketsOut      atomic.Uint64 // packets queued to be sent
	BytesOut        atomic.Uint64 // the bytes of those packets, headers included
	RequestsOut     atomic.Uint64 // requests made
	Flushes         atomic.Uint64 // times that what was queued was handed to the system
	Batches         atomic.Uint64 // flushes of more than one packet
	SenderHandovers atomic.Uint64 // writes that the descriptor did not take at once
}

// Counters returns the connection's counters, which go on counting.
func (c *Conn) Counters() *Counters { return &c.counters }
