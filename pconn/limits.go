package pconn

import (
	"time"

	"github.com/packetstream/packetstream/packet/frame"
)

// All bounds of a connection are here, since they have to match: a plain peer cannot be told our
// limits, so what one end may have outstanding is at most what another end accepts.
const (
	// DefaultMaxPayload is the most bytes that one request or response may carry, 16 MiB:
	// far above what calls carry, far below what hurts when a peer sends it unasked.
	DefaultMaxPayload = 16 << 20

	// MaxPayload is the largest value of Options.MaxPayload, the bound of the wire format.
	MaxPayload = 2 << 30

	// DefaultMaxHandlers is how many handlers are at work at a time. Those that wait in a call
	// on the same connection do not count, so that calls may nest to any depth.
	DefaultMaxHandlers = 256

	// maxOutstanding is how many requests one end may have unanswered, and how many unanswered
	// ones the other end accepts. Past it our own callers wait, and a peer's request is rejected.
	maxOutstanding = 16384

	// maxOutstandingBytes is how many payload bytes those requests may have, together. A single
	// request may exceed it when nothing else is outstanding.
	maxOutstandingBytes = 64 << 20

	// hardFactor times maxOutstanding is how many requests a peer may send when none but the first
	// maxOutstanding of them could be accepted: it goes on although it was refused, and loses the
	// connection. Each request that is accepted begins the count anew. Their bytes have no such bound,
	// since what is refused takes no memory, and a few large requests sent in one burst may be
	// past it before the first rejection can be read.
	hardFactor = 4

	// maxControl is how many bytes of rejections may wait to be sent. A peer that lets more than
	// that pile up does not read what it is told, and loses the connection.
	maxControl = 1 << 20

	// maxQueue is how many bytes may wait to be sent before those who have more wait in order.
	// Less than this starves callers at high concurrency: it must hold a full round of them.
	maxQueue = 1 << 20

	// maxHeld is how many bytes of answers of inline handlers are held back for the next write: as
	// many as a pipe holds.
	maxHeld = 64 << 10

	// leftUpTo is how many packets may come while receiving does not wait, until what was left to it is written anyway: as much as
	// 64 calls in flight each way bring at once, whose callers then complete a portion.
	leftUpTo = 128

	// maxPace is the largest step by which the looks of a wait move apart.
	maxPace = 16

	// gatherFrom is the payload size from which a payload is sent from where it is: below, the
	// copy costs less than another element of a gathered write.
	gatherFrom = 32 << 10

	// maxErrorText is how many bytes of an error's text a response carries.
	maxErrorText = 1 << 10

	// maxQuote is how many bytes of garbage an error quotes.
	maxQuote = 128

	// maxUpFront is the most memory taken for a payload on the word of its header alone. A larger
	// payload's memory grows as its bytes arrive.
	maxUpFront = 16 << 20

	// maxHeaders is how many bytes of metadata and other fields go with one request or response, as
	// they are on the wire and as frame.PairsSize counts them.
	maxHeaders = 64 << 10

	// MaxFiles is the largest value of Options.MaxFiles: what any system passes at once, with room for what the
	// system's limit on descriptors under way, as a rule 1024 of a user, leaves to others.
	MaxFiles = 64

	// maxUnclosed is how many files that nobody took may wait to be closed, which the peer can make slow.
	maxUnclosed = 256

	// maxCause is how many bytes of a cause's text CANCEL and GOAWAY carry, and maxLongCauses how many
	// bytes of control may wait before CANCELs go without.
	maxCause      = 128
	maxLongCauses = 64 << 10

	// maxPartials is how many payloads may be under way in pieces in each direction, with
	// maxOutstandingBytes together.
	maxPartials = 64

	// maxCookie is how many bytes Options.Cookie may have.
	maxCookie = 32 << 10

	// maxFields is how many bytes any other frame's fields may have.
	maxFields = 64 << 10

	// reservedChannel carries the protocol's extensions and cannot be taken by users.
	reservedChannel = frame.Channel

	// DefaultGrace is the delay before a flush that the Python package cs.packetstream uses by
	// default. The default of Options.Grace is 0: what is queued leaves at once.
	DefaultGrace = 10 * time.Millisecond

	// DefaultDrainTimeout bounds how long the answers to requests already accepted are waited
	// for after the peer has ended its side.
	DefaultDrainTimeout = 5 * time.Second

	// DefaultCloseTimeout bounds how long Close waits for handlers whose contexts it cancelled,
	// and for the last bytes to be taken by the peer.
	DefaultCloseTimeout = 2 * time.Second

	// lateAnswers bounds how long answers are still read after writing has failed: a peer that
	// closed its input may have answered before.
	lateAnswers = time.Second

	// textDelay is how long an incomplete first packet that reads as text may stay incomplete
	// before it is logged.
	textDelay = time.Second

	// streamPiece is the most bytes of a stream, or of a large payload, that one packet carries, so
	// that others' packets need not wait for more than that.
	streamPiece = 32 << 10

	// pieceFrom is the size from which a request's or response's payload goes in pieces to a peer that takes them. Up
	// to it, others wait for the payload about as long as for what a write has of pieces.
	pieceFrom = 128 << 10

	// turnShare is how many bytes of streams and large payloads leave in one write, at most one
	// piece more: what has come meanwhile goes in between. Where that is all that a write has it is of one stream.
	turnShare = 64 << 10

	// maxOvertake is how many writes of control may go before requests, answers and streams that wait.
	maxOvertake = 8

	// sendBuffer is how many bytes of a stream's small writes wait to be sent before a Write waits
	// for room.
	sendBuffer = 64 << 10

	// gatherStream is the size of a Write to a stream from which it is sent from where it is. The
	// writer waits until it has left.
	gatherStream = 8 << 10

	// maxStreamName is how many bytes a stream's name may have.
	maxStreamName = 1 << 10

	// DefaultMaxStreams is how many streams the peer may have open at a time.
	DefaultMaxStreams = 1024

	// DefaultStreamBacklog is how many of those may wait to be accepted: a burst, as with sockets.
	DefaultStreamBacklog = 256

	// DefaultStreamWindow is how many bytes a stream's sender may be ahead of its reader at first: what
	// keeps a pipe of the usual size busy.
	DefaultStreamWindow = 256 << 10

	// DefaultMaxStreamWindow is how many it may be in the end, where that makes the stream faster: what
	// is on its way at 1 Gbit/s and 100 ms.
	DefaultMaxStreamWindow = 16 << 20

	// DefaultStreamMemory is how many bytes all windows may have together beyond what the streams that
	// the peer may open begin with.
	DefaultStreamMemory = 64 << 20

	// leastWindow is what a stream of our own begins with where memory is short.
	leastWindow = 16 << 10
)
