package eventstream

import "time"

// The limits of the message format. The format's own reference library keeps the same ones, so that
// a message which passes them here is a message that every peer can read.
const (
	// MaxMessageLen is the largest message in bytes, all of it counted: 24 MiB, inclusive. A reader
	// that meets a larger length closes the connection, so a writer refuses it.
	MaxMessageLen = 24 << 20

	// MinMessageLen is the smallest message in bytes: a prelude of 12 and a checksum of 4.
	MinMessageLen = preludeLen + crcLen

	// MaxHeaders is the largest number of headers in one message, the reserved ones included.
	// Readers refuse the 1025th.
	MaxHeaders = 1024

	// MaxHeaderNameLen is the longest header name in bytes: its length is one byte on the wire.
	// Some peers send at most 254 and one of them reads at most 127.
	MaxHeaderNameLen = 255

	// MaxHeaderValueLen is the longest string or byte_buf value in bytes: readers take the two
	// bytes of its length for a signed number.
	MaxHeaderValueLen = 1<<15 - 1
)

const (
	preludeLen = 12
	crcLen     = 4
)

// The limits of one connection. Each has a field in Options; these are what a zero there means.
const (
	// DefaultSendQueue is how many bytes a connection holds that were accepted for sending and are
	// not written yet: enough for one message of the largest size and more behind it.
	DefaultSendQueue = 32 << 20

	// DefaultReceiveQueue is how many bytes a connection holds that were read and not yet taken by
	// a handler or by Recv. Reading pauses above it, which holds back the peer.
	DefaultReceiveQueue = 32 << 20

	// DefaultMaxStreams is how many streams a client may have open at once on one connection of a
	// server. Each costs the server a goroutine.
	DefaultMaxStreams = 4096

	// DefaultHandshakeTimeout is how long a server waits for CONNECT and for the application's
	// answer to it, and Dial and NewClient for the peer's CONNECT_ACK. Without it a silent peer
	// would hold a descriptor for ever.
	DefaultHandshakeTimeout = 30 * time.Second

	// DefaultWriteTimeout is how long one write, of at most what the send queue holds, may take. A peer that
	// has stopped reading would hold a queue and the handlers that wait for it for ever.
	DefaultWriteTimeout = 2 * time.Minute

	// DefaultLinger is how long a server waits for the peer to close after it wrote a rejecting
	// CONNECT_ACK or a fatal error. A client that has not yet read that message when the socket
	// closes reports a lost socket instead of the reason.
	DefaultLinger = 200 * time.Millisecond
)

const (
	// messageOverhead is what a queued message is taken to cost in bytes beside its own length, so
	// that a flood of empty messages is bounded by the same number as a few large ones.
	messageOverhead = 512

	// headerOverhead is what a header that was received costs in bytes beside its encoding, which can be as short
	// as two: the size of a Header.
	headerOverhead = 48

	// drainTimeout is how long a closing connection goes on writing what it had accepted.
	drainTimeout = time.Second

	// minAcceptPause and maxAcceptPause are how long a server waits before it accepts again after it
	// could not, for want of descriptors mostly.
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second

	// inlinePatience is how long a handler may run on the goroutine that receives before another goroutine goes
	// on receiving. A handler that waits for nothing stays well below.
	inlinePatience = 5 * time.Millisecond

	// maxInlineLook is what the time between two looks at such handlers grows to, by doubling, while a busy connection's
	// all return at once. A look wakes threads of the runtime that would sleep: every 5 ms that took a fifth of what a
	// server with one call at a time uses.
	maxInlineLook = 20 * time.Millisecond

	// maxSlowOperations is how many operations a connection remembers whose handlers took longer, and
	// maxPenalty for how many streams at most each is then given goroutines: it makes the wait of
	// inlinePatience before the next try small beside what so many calls cost.
	maxSlowOperations = 256
	maxPenalty        = 1023

	// readBufferLen is a decoder's buffer to begin with: small, because idle connections are many.
	readBufferLen = 4 << 10

	// firstGrowLen is what a decoder's buffer may grow to on the word of a prelude alone.
	firstGrowLen = 128 << 10

	// maxEmptyReads is how many times in a row a reader may return neither bytes nor an error.
	maxEmptyReads = 100

	// keepBufferLen is the largest buffer, in bytes, that is kept for reuse after a large message.
	keepBufferLen = 128 << 10

	// ownBufferLen is from which message length on the payload is handed over in the buffer it was
	// read into, instead of being copied out of the decoder's.
	ownBufferLen = 64 << 10

	// keepReceipts is how many messages a batch may have had for its bookkeeping to be kept for reuse.
	keepReceipts = 1024

	// inlineMessageLen is up to which length a message is encoded into the shared batch; longer
	// ones get a buffer of their own and are encoded outside the lock.
	inlineMessageLen = 16 << 10
)
