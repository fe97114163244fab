package frame

import (
	"strconv"

	"github.com/packetstream/packetstream/packet"
)

// Channel is the reserved channel.
const Channel = 127

// Kind says what a frame is. It is the packet's type in the API; on the wire it is one more.
type Kind uint64

// The kinds. PROTOCOL.md has a table of their tags, flags and payloads.
const (
	KindHello   Kind = iota // the only one that may come first, and the only request but for KindPing
	KindPing                // answered at once
	KindGoAway              // no new requests and streams are taken
	KindCancel              // the request is given up
	KindHeaders             // concerns the request or response that comes next with the tag
	KindPiece               // a part of a payload
	KindOpen                // a stream begins
	KindData                // bytes of a stream
	KindEnd                 // no more data follows
	KindStop                // no more data is wanted
	KindReset               // the stream is over
	KindCredit              // so many more bytes may be sent
	KindFiles               // descriptors come with it, for the request or response that comes next with the tag
)

var kindNames = [...]string{"HELLO", "PING", "GOAWAY", "CANCEL", "HEADERS", "PIECE", "OPEN", "DATA", "END", "STOP", "RESET", "CREDIT", "FILES"}

func (k Kind) String() string {
	if k < Kind(len(kindNames)) {
		return kindNames[k]
	}
	return "frame " + strconv.FormatUint(uint64(k), 10)
}

// FlagResponse is the bit of a HEADERS', PIECE's or FILES' flags that says that it concerns a response rather than
// a request. The flags of a PIECE hold the size of the whole payload above it, those of a FILES their number.
const FlagResponse = 1

// Header returns the header of a one-way frame, or of a PING or HELLO.
func Header(kind Kind, tag, flags uint64, size int) packet.Header {
	return packet.Header{Channel: Channel, Tag: tag, Flags: flags, Type: uint64(kind) + 1, Request: true, Size: int64(size)}
}

// KindOf returns the kind of a frame that came as a request on the reserved channel. Its type on the wire is
// at least 1.
func KindOf(h *packet.Header) Kind { return Kind(h.Type - 1) }
