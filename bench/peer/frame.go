package peer

import (
	"encoding/binary"
	"fmt"
	"io"
)

// frameHeader is the length that stands before a payload on a stream.
const frameHeader = 4

// maxFrame is more than any cell has.
const maxFrame = 64 << 20

func appendFrame(b, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(payload))), payload...)
}

// readFrame reads a frame, header and all, into buf's memory if it fits there.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	if cap(buf) < frameHeader {
		buf = make([]byte, 512)
	}
	// A small frame is read at once where it came at once.
	buf = buf[:cap(buf)]
	n, err := io.ReadAtLeast(r, buf, frameHeader)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(buf)) + frameHeader
	if size > maxFrame || n > size {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	if size > len(buf) {
		grown := make([]byte, size)
		copy(grown, buf[:n])
		buf = grown
	}
	_, err = io.ReadFull(r, buf[n:size])
	return buf[:size], err
}
