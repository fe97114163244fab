package prpc

import (
	"encoding/binary"
	"math"

	"github.com/packetstream/packetstream/bufio"
)

// Frames of RFC 6455, section 5.2: two bytes, the length's other bytes, the mask's key, the payload.
const (
	frameWholeBinary = 0x82 // first byte: final, no extension, binary
	frameFinal       = 0x80 // of the first byte
	frameControl     = 0x08 // of the first byte
	frameMasked      = 0x80 // of the second byte
	frameLength16    = 126
	frameLength64    = 127
)

// frameHeader is the header of a frame.
type frameHeader struct {
	first  byte // final, extension bits and opcode
	masked bool
	key    [4]byte
	length uint64 // of the payload
	size   int    // of the header itself
}

// control reports whether it is a control frame, which may stand between the pieces of a message.
func (h *frameHeader) control() bool { return h.first&frameControl != 0 }

// final reports whether it is the last piece of its message.
func (h *frameHeader) final() bool { return h.first&frameFinal != 0 }

// parseFrame reads the header at the start of b, and reports whether all of it is there. Until it is, size is how much of b is
// wanted to tell more.
func parseFrame(b []byte) (h frameHeader, whole bool) {
	if h.size = 2; len(b) < h.size {
		return h, false
	}
	h.first, h.masked, h.length = b[0], b[1]&frameMasked != 0, uint64(b[1]&^frameMasked)
	extended := 0
	switch h.length {
	case frameLength16:
		extended = 2
	case frameLength64:
		extended = 8
	}
	h.size += extended
	if h.masked {
		h.size += len(h.key)
	}
	if len(b) < h.size {
		return h, false
	}
	switch extended {
	case 2:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 8:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	if h.masked {
		h.key = [4]byte(b[h.size-len(h.key):])
	}
	return h, true
}

// peekFrame reads a header and leaves it to be read again.
func peekFrame(in *bufio.Input) (frameHeader, error) {
	b, _ := in.Peek(0)
	h, whole := parseFrame(b)
	for !whole {
		b, err := in.Peek(h.size)
		if err != nil {
			return frameHeader{}, err
		}
		h, whole = parseFrame(b)
	}
	return h, nil
}

// appendFrame appends a message as one binary frame, masked if there is a key.
func appendFrame(b, message []byte, key *[4]byte) []byte {
	var bit byte
	if key != nil {
		bit = frameMasked
	}
	b = append(b, frameWholeBinary)
	switch n := len(message); {
	case n < frameLength16:
		b = append(b, bit|byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, bit|frameLength16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|frameLength64), uint64(n))
	}
	if key == nil {
		return append(b, message...)
	}
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, message...)
	maskPayload(b[start:], *key)
	return b
}

// maskPayload masks a whole payload, or takes the mask off.
func maskPayload(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i%len(key)]
	}
}
