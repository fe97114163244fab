package links

import "github.com/packetstream/packetstream/pconn"

// StreamName is the name under which programs open a stream for tickets where nothing else is agreed.
const StreamName = "links"

// streamWindow (bytes) is the window over a stream of a packet connection: half of what the stream's own window is at first, so that aborts
// and grants find room beside the bytes of an operation.
const streamWindow = pconn.DefaultStreamWindow / 2

// NewStreamConn makes a connection over a stream of a packet connection, beside its requests and other streams. The end that opened the stream is side
// 0, whatever the options say; a Window of 0 is half of the stream's. The stream belongs to the connection from then on, and the handler that was
// given it must not return before Done, as it would end it.
func NewStreamConn(s *pconn.Stream, opts *ConnOptions) (*Conn, error) {
	var o ConnOptions
	if opts != nil {
		o = *opts
	}
	o.Side = 1
	if s.Opened() {
		o.Side = 0
	}
	if o.Window == 0 {
		o.Window = streamWindow
	}
	return NewConn(StreamCarrier(s), &o)
}
