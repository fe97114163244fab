package grpclinks

import (
	"math"
	"time"

	"github.com/packetstream/packetstream/internal/reuse"
)

const (
	// DefaultMaxReceive (bytes) is the largest message received where nothing else is said: 4 MiB, as in grpc-go.
	DefaultMaxReceive = 4 << 20
	// DefaultMaxSend (bytes) does not limit what is sent, as in grpc-go: the receiver's limit counts.
	DefaultMaxSend = math.MaxInt32
	// DefaultConnectionTimeout bounds how long Serve waits for the peer's HELLO, as in grpc-go.
	DefaultConnectionTimeout = 120 * time.Second
	// openMessages is how many messages of a stream a peer may send ahead of the application, beside the connection's window of bytes. Lumps
	// of half of it keep grants rare.
	openMessages = 32
	// countedSize (bytes) is from where on a received message counts its references. The memory of smaller ones is used once only, by links
	// and where messages are encoded.
	countedSize = reuse.MinSize
	// forever is a grace that does not end.
	forever = time.Duration(math.MaxInt64)
)

// payloadLimit is what a link should take for messages of at most limit bytes: one more for the byte that says whether it is compressed.
func payloadLimit(limit int) int {
	if limit >= math.MaxInt32 {
		return -1
	}
	return max(limit, 0) + 1
}
