package pconn

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"time"
)

// Request is one request: as a caller makes it, and as a handler sees it.
type Request struct {
	// Channel is the channel it travels on, 0 unless made through a Channel.
	Channel uint64
	// Type tells the peer's handler what is asked. Types are the application's, from 0 up.
	Type uint64
	// Flags are the application's, at most 62 bits of them.
	Flags uint64
	// Payload is the request's body. What a caller passes in is the caller's again as soon as the
	// call returns. What a handler sees is the handler's, to keep and to change.
	Payload []byte
	// Idempotent says that it does no harm to ask twice. A connection never does; what stands for several, such as
	// package pool's, repeats the request where it cannot know whether it was received.
	Idempotent bool
	// Metadata goes with the request to a peer that has the extensions: else the call fails with
	// ErrNoExtensions. A handler sees the caller's.
	Metadata Metadata
	// Files go with the request to a peer that takes them (Options.MaxFiles), over a Unix socket: else the call fails with
	// a *FilesError. They stay the caller's, who may close them when the call has returned; the peer has descriptors of
	// its own for the same open files. A handler's are closed when it has returned, unless it has called TakeFiles.
	Files []*os.File
	// Timeout, if a caller sets it, is the time that the peer's handler is given from when the request is
	// queued, if the peer has the extensions. Do tells the deadline of its context by itself; this is for
	// Submit and Notify, whose contexts say nothing of the handler. Handlers look at their context.
	Timeout time.Duration
	// Decode, if a caller sets it, turns the ok response into the value that Result.Value
	// returns. It runs once, on the first goroutine that waits for the Result.
	Decode func(Response) (any, error)

	// Conn is the connection that a handler's request came by. Callers leave it unset.
	Conn *Conn
}

// codec is the connection's, or the default where there is none.
func (r *Request) codec() Codec {
	if r.Conn == nil {
		return JSON
	}
	return r.Conn.Codec()
}

// size is what the request counts against bounds.
func (r *Request) size() int64 { return int64(len(r.Payload)) + r.Metadata.size() }

// TakeFiles returns the files of a handler's request, which from then on are the handler's to close.
func (r *Request) TakeFiles() []*os.File {
	files := r.Files
	r.Files = nil
	return files
}

// Peer says who is at the other end of the connection that a handler's request came by, as far as
// the endpoint knows. Of a request without a connection, as in a test of a handler, nothing is known.
func (r *Request) Peer() Peer {
	if r.Conn == nil {
		return Peer{}
	}
	return r.Conn.Peer()
}

// Peer says who is at the other end of a connection. The zero value says that nothing is known.
type Peer struct {
	// PID is the peer's process, or 0.
	PID int
	// UID is the peer's user, meaningful if HasUID.
	UID    int
	HasUID bool
	// Addr is the peer's address, where the connection came over a network or a socket.
	Addr net.Addr
	// Certificate is what the peer has proven to hold, or nil.
	Certificate *x509.Certificate
}

// Response is the answer to a request.
type Response struct {
	// OK is false in a rejection; a call then returns a *RemoteError beside it.
	OK bool
	// Flags are the application's, at most 61 bits of them.
	Flags uint64
	// Payload is the receiver's own, to keep and to change.
	Payload []byte
	// Metadata is what the handler sent with its answer, or nil.
	Metadata Metadata
	// Files are those that the handler sent with its ok answer, for the caller to close.
	Files []*os.File
}

// Handler answers the peer's requests.
//
// Handlers run concurrently, at most Options.MaxHandlers of them. The context ends when the
// connection is closed or the answer can no longer be sent, and, between two ends that have the
// extensions, when the caller gives up or the caller's deadline is over (*CancelError); its cause says which. A handler may call
// back on req.Conn with that context, to any depth: while it waits there it does not count. An error
// made by Errorf is sent to the peer as its text; any other error, and a panic, as "exception during
// handler".
type Handler interface {
	ServePacket(ctx context.Context, req *Request) (Reply, error)
}

// HandlerFunc is a func that is a Handler.
type HandlerFunc func(ctx context.Context, req *Request) (Reply, error)

// ServePacket calls f.
func (f HandlerFunc) ServePacket(ctx context.Context, req *Request) (Reply, error) {
	return f(ctx, req)
}

// Adapt makes a Handler of a func whose result is anything that the reference's handlers may return:
// nil, an integer or bool (flags), []byte, string, and a pair of flags and bytes (Pair, or a slice
// or array of two). A result of any other type is an error response.
func Adapt(f func(ctx context.Context, req *Request) (any, error)) Handler {
	return HandlerFunc(func(ctx context.Context, req *Request) (Reply, error) {
		v, err := f(ctx, req)
		if err != nil {
			return Reply{}, err
		}
		return replyOf(v)
	})
}
