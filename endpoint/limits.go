package endpoint

import "time"

const (
	// stderrTail is how many bytes of a child's standard error are kept, its last ones: what a
	// person reads of a crash, a long stack trace included.
	stderrTail = 64 << 10

	// errorTail is how many of those bytes an error's text quotes. All of them are in its field.
	errorTail = 1 << 10

	// stderrRead is the most bytes taken from a child's standard error at once, and stderrChunks how
	// many such pieces may wait for a writer that is slow: half a MiB for each child.
	stderrRead   = 64 << 10
	stderrChunks = 8

	// stderrIdle is the memory that waits for what a quiet child has to say.
	stderrIdle = 4 << 10

	// maxLine is the longest line of standard error that is handed on in one piece.
	maxLine = 32 << 10

	// stderrStall is how long a writer of standard error may take nothing before the child goes on
	// without it, and what the child writes meanwhile is dropped.
	stderrStall = time.Second

	// stderrFlush bounds how long the end of a child waits for such a writer.
	stderrFlush = time.Second

	// DefaultStopEOF, DefaultStopTerm and DefaultStopKill are how long a child is given for each
	// step of being stopped. Together with pconn.DefaultCloseTimeout they stay under 10 seconds, which
	// service managers allow for before they kill.
	DefaultStopEOF  = 3 * time.Second
	DefaultStopTerm = 2 * time.Second
	DefaultStopKill = time.Second

	// MaxStop is the most that each of them may be.
	MaxStop = time.Hour

	// DefaultHandshakeTimeout is how long a child may take to say who it is: a start from a cold disk
	// on a busy machine, many times over.
	DefaultHandshakeTimeout = 10 * time.Second

	// exitMoment bounds how long the calls outstanding wait for the exit status of a child whose
	// output has ended. Kernels close descriptors first and tell of the exit after.
	exitMoment = time.Second

	// aliveMoment is the same where nothing says that the child is about to exit: it sent what is
	// not a packet, or said goodbye.
	aliveMoment = 100 * time.Millisecond

	// stderrMoment bounds how long an error waits for the rest of standard error, once the child has
	// exited. Only a descendant that holds it makes this wait long.
	stderrMoment = 200 * time.Millisecond

	// lingerMoment is how long what an exited child has started may go on to hold its pipes before it
	// is stopped: enough to write what it has read.
	lingerMoment = 500 * time.Millisecond

	// DefaultMaxConns is how many connections a Listener serves at a time. Each costs a descriptor and
	// some 20 KiB; most systems allow a process at least 1024 descriptors.
	DefaultMaxConns = 512

	// MaxConns is the largest value of Limits.MaxConns, the most descriptors that Linux gives a
	// process by default.
	MaxConns = 1 << 20

	// DefaultHandshake is how long the handshake of TLS or a WebSocket may take: several round trips around
	// the world and a slow machine.
	DefaultHandshake = 10 * time.Second

	// acceptRetryMin and acceptRetryMax bound the pauses after accepting has failed for want of
	// descriptors or memory.
	acceptRetryMin = 5 * time.Millisecond
	acceptRetryMax = time.Second

	// DefaultHalfOpen is how long one direction of a Join may be silent once the other has ended: packet
	// connections have 5 seconds to drain.
	DefaultHalfOpen = 30 * time.Second

	// staleWait is how long a socket that refuses is watched before it is taken for stale: between
	// its bind and its listen a live one refuses too.
	staleWait = 50 * time.Millisecond

	// socketLockWait bounds the wait for another process that looks for a stale socket in the same
	// directory.
	socketLockWait = 2 * time.Second

	// maxUnixPath is how many bytes the path of a Unix socket may have: 104 with the end mark on
	// macOS, 108 on Linux.
	maxUnixPath = 103
)
