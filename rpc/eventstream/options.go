package eventstream

import (
	"crypto/tls"
	"fmt"
	"time"
)

// Options are the settings of a client connection. The zero value is ready for use.
type Options struct {
	// ConnectHeaders and ConnectPayload go into the CONNECT that Dial and NewClient send. A ":version"
	// header with Version is put before the headers if they have none.
	ConnectHeaders Headers
	ConnectPayload []byte

	// TLS makes Dial speak TLS. Its ServerName defaults to the host that is dialled.
	TLS *tls.Config

	// HandshakeTimeout is how long Dial and NewClient wait for CONNECT_ACK, beside their context.
	// Zero means DefaultHandshakeTimeout, a negative value no limit.
	HandshakeTimeout time.Duration

	// WriteTimeout is how long one write may take before the peer is given up, for it does not read.
	// Zero means DefaultWriteTimeout, a negative value no limit.
	WriteTimeout time.Duration

	// SendQueue is how many bytes may be accepted and not yet written; 0 means DefaultSendQueue. One
	// message is always accepted, however large.
	SendQueue int

	// ReceiveQueue is how many bytes may be read and not yet taken by handlers or Recv; 0 means
	// DefaultReceiveQueue. Above it reading pauses. One message is always accepted.
	ReceiveQueue int

	// MaxMessage is the largest message in bytes that is read; 0, and at most, MaxMessageLen.
	MaxMessage int
}

// limits are the checked limits of one connection.
type limits struct {
	sendQueue, receiveQueue, maxMessage int

	writeTimeout time.Duration // 0: none
}

func newLimits(sendQueue, receiveQueue, maxMessage int, writeTimeout time.Duration) (limits, error) {
	if sendQueue < 0 || receiveQueue < 0 {
		return limits{}, fmt.Errorf("eventstream: queue of %d bytes", min(sendQueue, receiveQueue))
	}
	if maxMessage != 0 && (maxMessage < MinMessageLen || maxMessage > MaxMessageLen) {
		return limits{}, fmt.Errorf("eventstream: largest message of %d bytes is not between %d and %d",
			maxMessage, MinMessageLen, MaxMessageLen)
	}
	return limits{
		sendQueue:    orDefault(sendQueue, DefaultSendQueue),
		receiveQueue: orDefault(receiveQueue, DefaultReceiveQueue),
		maxMessage:   orDefault(maxMessage, MaxMessageLen),
		writeTimeout: max(orDefault(writeTimeout, DefaultWriteTimeout), 0),
	}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
