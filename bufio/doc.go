// Package bufio is the two ends of a byte stream that carries packets, and what lies between them.
//
// An [Input] is a buffered reader that can be looked into ([Input.Peek]), taken from, skipped over and
// stopped from another goroutine without losing a byte, so that what one connection read ahead is there
// for the next one on the same Input. An [Output] writes what a [Source] hands it, several slices with one
// system call, without blocking where the descriptor allows. A [Batch] is the usual Source: small packets
// are copied into it one behind another, large payloads stay where they are. [Pipe] is an Output and an
// Input in memory. A [Backlog] holds bytes in memory up to one limit and on disk up to a second.
//
//	in, err := bufio.InputFD(3)
//	b, err := in.Peek(1)    // waits for the first byte and returns all that came with it
//	err = in.ReadFull(p)    // what is buffered first, the rest straight into p
//
//	var batch bufio.Batch
//	batch.End(append(batch.Begin(), "small"...))
//	batch.EndRef(append(batch.Begin(), "header of "...), large)
//	err = out.Write(&batch, true)
//
// # Descriptors
//
// Descriptors that were passed in stay their owner's: [InputFD] and [OutputFD] work on a descriptor of their
// own and never change the flags of an open file description that others share. [Input.Mode] and
// [Output.Mode] say which way was taken:
//
//   - A pipe or FIFO is opened anew on Linux, without blocking, and waits in the runtime's poller.
//   - A socket that blocks is tried with MSG_DONTWAIT and waited for with poll(2).
//   - What is non-blocking already is duplicated and waits in the runtime's poller.
//   - A regular file is read and written where it is; it never has to be waited for.
//   - Everything else, terminals above all, is waited for with poll(2) and read by a goroutine of the Input's
//     own, so that neither Interrupt nor Close hangs, and no byte typed after Close is swallowed.
//
// A write to a pipe or socket whose other side is gone gives [ErrPeerGone]; SIGPIPE never ends the program,
// not even where the descriptor is 1 or 2.
//
// Nothing here writes to a log. One goroutine at a time uses an Input, an Output or a Batch; what may be called
// from any goroutine says so.
package bufio
