package bufio

const (
	// bufferSmall is where an Input's buffer starts, in bytes: enough for a batch of small packets, and
	// little enough for thousands of connections.
	bufferSmall = 4 << 10

	// bufferMiddle is the step between.
	bufferMiddle = 16 << 10

	// MaxPeek is the most bytes that Peek can be asked for, and what an Input's buffer grows to: what a
	// pipe holds by default, so that one read can empty it.
	MaxPeek = 64 << 10

	// MaxTake is the most bytes that Take can be asked for, 2 GiB: the largest payload of a packet.
	MaxTake = 1 << 31

	// takeAtOnce is how many bytes Take asks memory for before any of them has arrived. What is longer grows
	// as it comes, so that a length that lies costs its sender as much as the reader.
	takeAtOnce = 4 << 20

	// maxRead is the most bytes asked of one read(2). Some systems refuse 2 GiB and more.
	maxRead = 1 << 30

	// maxEmpty is how many times in a row a reader may return neither bytes nor an error. As in the
	// standard library, it is taken for broken then.
	maxEmpty = 100

	// maxVectors is the most slices in one gathered write: IOV_MAX on Linux and macOS.
	maxVectors = 1024

	// offerVectors and offerBytes bound what a Batch hands out for one system call, since no descriptor
	// takes more than a few MiB at once and what is handed out has to be walked each time.
	offerVectors = 256
	offerBytes   = 4 << 20

	// batchKeep is the largest buffer, in bytes, that a Batch keeps for later. A queue bound below 1 MiB
	// was seen to starve many small calls, so what a queue of that size grows to is worth keeping: append takes up to a
	// quarter more than it needs.
	batchKeep = 3 << 19

	// batchShift is how many written bytes a Batch that is never empty gathers before it moves the
	// rest to the front.
	batchShift = 64 << 10

	// gatherSize is how many bytes are copied together for a writer that takes one slice at a time, so
	// that a header and its payload leave in one write.
	gatherSize = 32 << 10

	// pageSize is what a pipe's memory comes in, and slowAhead by how many bytes a copy must not lie ahead of its
	// source, pages apart, to be fast on processors whose string moves are slow then: AMD's since Zen 3.
	pageSize  = 4 << 10
	slowAhead = 16

	// worthAWrite is the size, in bytes, from which such a copy costs more than several writes.
	worthAWrite = 256 << 10

	// blockingChunk is the most bytes written at once to a descriptor that blocks, after poll(2) said
	// that it has room: a pipe that is writable has room for one page.
	blockingChunk = 4 << 10

	// terminalChunk is that to a terminal, which is writable with less room than that, but takes so many bytes as one piece.
	terminalChunk = 256

	// maxTakenFiles is how many descriptors that came with bytes may wait to be asked for: more than the system
	// gives at once, and fewer than a process may have open by default.
	maxTakenFiles = 256

	// pipeSmall is where the memory of a Pipe starts, in bytes.
	pipeSmall = 4 << 10

	// DefaultPipe is the size of a Pipe where none is given, in bytes: what a pipe of the system holds.
	DefaultPipe = 64 << 10

	// MaxPipe is the largest size of a Pipe, in bytes.
	MaxPipe = 1 << 30

	// DefaultBacklogMemory is how many bytes a Backlog holds in memory, 1 MiB: a burst, at a price that a
	// program with many connections can pay for each.
	DefaultBacklogMemory = 1 << 20

	// DefaultBacklogDisk is how many bytes more it holds on disk, 64 MiB: what one end may have unanswered.
	DefaultBacklogDisk = 64 << 20

	// MaxBacklog is the largest of either limit, 1 TiB, so that their sum can be held in an int64 and an
	// accidental number is found out.
	MaxBacklog = 1 << 40
)
