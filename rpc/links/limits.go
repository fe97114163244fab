package links

import "time"

// Limits of an end and its operations.
const (
	// DefaultSendBuffer (bytes) is what an operation may have on its way to the wire before Send waits. Two messages of 64 KiB fit, so that one
	// is written while the application makes the next, and it is what an operation nobody reads costs its sender beside the windows.
	DefaultSendBuffer = 128 << 10
	// payloadCost (bytes) is added to the size of each payload, so that messages without bytes are counted too.
	payloadCost = 64
	// maxHeldTickets bounds the tickets of one operation that wait for an earlier one, and those of one end that wait for the first of
	// their operation. A carrier that reorders is far from it; a peer that leaves a gap open is not served without end.
	maxHeldTickets = 1024
	// maxSeenGaps bounds the names remembered of operations that were overtaken by later ones.
	maxSeenGaps = 4096
)

// Limits of a connection. Each end announces its own in HELLO, and the other end keeps to them.
const (
	// DefaultMaxPayload (bytes) is the largest message taken where the end says nothing else, as in gRPC.
	DefaultMaxPayload = 4 << 20
	// hardMaxPayload (bytes) bounds every stated size, whatever an end allows: 2 GiB less one, the most a 32-bit peer can count.
	hardMaxPayload = 1<<31 - 1
	// DefaultMaxMetadata (bytes) bounds everything in one ticket but its payload.
	DefaultMaxMetadata = 64 << 10
	// hardMaxMetadata (bytes) bounds that setting, because such a ticket travels as one frame.
	hardMaxMetadata = 4 << 20
	// DefaultWindow (bytes) is what the peer may send of one operation before the application has taken it. The half of it that is credited at
	// once is a full write, so the sender has another to gather and to write while the grant for one is on its way back.
	DefaultWindow = 512 << 10
	// minWindow (bytes) lets one piece through, and maxWindow is what a piece counter may hold.
	minWindow = pieceSize
	maxWindow = 1 << 30
	// DefaultMaxOperations is how many operations of the peer may be open at once; the peer's further ones wait at its side.
	DefaultMaxOperations = 16384
	// pieceSize (bytes) is the most of one payload in a frame: operations take turns after each. It is 16 KiB less what is beside it, so that
	// the length of the frame takes two bytes.
	pieceSize = 16<<10 - 64
	// frameOverhead (bytes) covers a ticket's numbers, so that a frame may hold pieceSize and the largest metadata beside them.
	frameOverhead = 256
	// hardMaxFrame (bytes) is the most that is read before HELLO says otherwise.
	hardMaxFrame = hardMaxMetadata + pieceSize + frameOverhead
	// maxDirect is how many operations may be open while their goroutines write for themselves. Above it larger batches save more than the
	// change of goroutine costs.
	maxDirect = 2
	// batchSize (bytes) is how much is gathered into one write while operations have pieces waiting: a quarter of an enlarged pipe, so
	// that the reader takes one part while the next is gathered.
	batchSize = 256 << 10
	// bulkBatch (bytes) is from where on a batch makes a pipe be enlarged.
	bulkBatch = 32 << 10
	// maxBuffered (bytes) is how much small traffic may wait for a write; above it payloads stay with their operations, whose senders wait.
	maxBuffered = 1 << 20
	// maxControl (bytes) bounds grants, aborts and pongs that wait for a write: a peer that makes us answer and does not read is cut off.
	maxControl = 4 << 20
	// maxEarly is how many frames may come before HELLO, on a carrier without order, and maxEarlyBytes (bytes) how large all of them may be.
	// HELLO is the first that was sent, so only what overtook it is kept.
	maxEarly      = 1024
	maxEarlyBytes = 4 << 20
	// statedTrust is how many times the first piece of a payload is taken as memory for it at once, if it states as much.
	statedTrust = 16
	// maxNames bounds the names of groups and methods kept so that the next call need not allocate them; maxNameLength (bytes) bounds each.
	maxNames      = 1024
	maxNameLength = 256
	// pooledSize (bytes) is from where on the memory of a received payload is used again: smaller pieces are cheap to make.
	pooledSize = 16 << 10
	// maxQueuedPackets (bytes) bounds frames that came over a channel and were not read yet. The reader waits for nobody, so a peer that keeps
	// to its windows is far from it.
	maxQueuedPackets = 64 << 20
	// shownBytes is how much of what is not a frame is shown in an error.
	shownBytes = 128
	// DefaultFlushTime bounds how long Close tries to write what is already due.
	DefaultFlushTime = time.Second
	// readBuffer (bytes) is where a byte stream's buffer starts. It doubles when a read fills it, up to maxReadBuffer, and as far as a frame
	// needs it.
	readBuffer    = 4 << 10
	maxReadBuffer = 256 << 10
)
