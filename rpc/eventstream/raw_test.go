package eventstream_test

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// rawFrame encodes a message around a block of headers that may be nonsense.
func rawFrame(block, payload []byte) []byte {
	b := make([]byte, 12, 16+len(block)+len(payload))
	binary.BigEndian.PutUint32(b, uint32(cap(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(len(block)))
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
	b = append(append(b, block...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// rawMessage encodes an RPC message, legal or not.
func rawMessage(m eventstream.Message, stream int32, operation string) []byte {
	hs := append(eventstream.Headers(nil), m.Headers...)
	hs = append(hs,
		eventstream.Int32(":message-type", int32(m.Type)),
		eventstream.Int32(":message-flags", int32(m.Flags)),
		eventstream.Int32(":stream-id", stream))
	if operation != "" {
		hs = append(hs, eventstream.String("operation", operation))
	}
	b, err := eventstream.AppendFrame(nil, hs, m.Payload)
	if err != nil {
		panic(err)
	}
	return b
}
