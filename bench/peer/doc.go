// Package peer is the systems that are measured beside one another, each behind the same small interface.
//
// A [Peer] opens its end of a connection over two pipes, once in the process that calls and once in the process
// that answers. What comes back is a [Conn], whose Call sends bytes and returns the same bytes from the other
// end. All lists them.
//
// Every system gets the descriptors that suit it best (pipe ends in the runtime's poller, unless it asks for blocking
// ones) and is set up as its own documentation advises for speed; the comment above each says how. Nothing has
// keep-alives or logs switched on. Replies of calls are fresh memory, as generated stubs and package documentation have
// them; what reads a stream reads into memory that is used again, as is usual there. Those whose calls take a context get one that can be cancelled; none has
// its checks of what comes in switched off.
package peer
