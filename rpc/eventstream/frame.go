package eventstream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// Frame is one message of the encoding: headers and payload, with no meaning given to either.
type Frame struct {
	Headers Headers
	Payload []byte
}

// AppendFrame appends the encoding of one message to dst and returns the extended slice. It keeps
// the order and the repetitions of headers. It allocates nothing if dst has room.
//
// A message over a limit is refused with a *FrameError (ErrHeader, ErrTooManyHeaders, ErrTooLarge,
// ErrHeaderType); dst then comes back as it was. headers and payload are only read.
func AppendFrame(dst []byte, headers []Header, payload []byte) ([]byte, error) {
	hlen, err := headersLen(headers, 0)
	if err != nil {
		return dst, err
	}
	if err := checkTotal(hlen, len(payload)); err != nil {
		return dst, err
	}
	dst, start := beginFrame(dst, hlen, len(payload))
	for i := range headers {
		dst = appendHeader(dst, &headers[i])
	}
	return endFrame(dst, start, hlen, payload), nil
}

// checkTotal refuses a message that would be larger than any peer reads.
func checkTotal(hlen, plen int) error {
	if plen > MaxMessageLen-MinMessageLen-hlen {
		return &FrameError{Err: ErrTooLarge, Header: -1,
			detail: fmt.Sprintf("%d bytes of payload and %d of headers", plen, hlen)}
	}
	return nil
}

// headersLen returns the length of the encoded headers, or why they cannot be encoded. extra is how
// many headers will come beside these.
func headersLen(headers []Header, extra int) (int, error) {
	if len(headers)+extra > MaxHeaders {
		return 0, &FrameError{Err: ErrTooManyHeaders, Header: -1,
			detail: fmt.Sprintf("%d, of which a reader takes %d", len(headers)+extra, MaxHeaders)}
	}
	n := 0
	for i := range headers {
		h := &headers[i]
		if len(h.name) > MaxHeaderNameLen {
			return 0, headerError(ErrHeader, i, "name of %d bytes", len(h.name))
		}
		n += 2 + len(h.name)
		switch h.typ {
		case HeaderTypeBytes, HeaderTypeString:
			if len(h.text) > MaxHeaderValueLen {
				return 0, headerError(ErrHeader, i, "value of %d bytes", len(h.text))
			}
			n += 2 + len(h.text)
		default:
			n += int(fixedLen[h.typ])
		}
	}
	return n, nil
}

// fixedLen is the length of a value by type; byte_buf and string bring their own.
var fixedLen = [...]uint8{
	HeaderTypeByte: 1, HeaderTypeInt16: 2, HeaderTypeInt32: 4, HeaderTypeInt64: 8,
	HeaderTypeTimestamp: 8, HeaderTypeUUID: 16,
}

// beginFrame makes room for the whole message and leaves its prelude to be filled in by endFrame.
func beginFrame(dst []byte, hlen, plen int) (grown []byte, start int) {
	start = len(dst)
	dst = slices.Grow(dst, MinMessageLen+hlen+plen)
	return dst[:start+preludeLen], start
}

func endFrame(dst []byte, start, hlen int, payload []byte) []byte {
	dst = append(dst, payload...)
	total := len(dst) - start + crcLen
	b := dst[start:]
	binary.BigEndian.PutUint32(b, uint32(total))
	binary.BigEndian.PutUint32(b[4:], uint32(hlen))
	crc := crc32.ChecksumIEEE(b[:8])
	binary.BigEndian.PutUint32(b[8:], crc)
	crc = crc32.Update(crc, crc32.IEEETable, b[8:])
	return binary.BigEndian.AppendUint32(dst, crc)
}

func appendHeader(dst []byte, h *Header) []byte {
	dst = append(dst, byte(len(h.name)))
	dst = append(dst, h.name...)
	dst = append(dst, byte(h.typ))
	switch h.typ {
	case HeaderTypeByte:
		return append(dst, byte(h.num))
	case HeaderTypeInt16:
		return binary.BigEndian.AppendUint16(dst, uint16(h.num))
	case HeaderTypeInt32:
		return binary.BigEndian.AppendUint32(dst, uint32(h.num))
	case HeaderTypeInt64, HeaderTypeTimestamp:
		return binary.BigEndian.AppendUint64(dst, uint64(h.num))
	case HeaderTypeBytes, HeaderTypeString:
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.text)))
		return append(dst, h.text...)
	case HeaderTypeUUID:
		return append(dst, h.text...)
	}
	return dst
}

// ParseFrame decodes the message at the beginning of b into f and returns how many bytes it took.
// It reuses f's slice of headers. f.Payload is a part of b; the headers are not, for them one
// string is allocated, and nothing else.
//
// If b holds only part of a message the error is ErrTruncated, unless that part is already known to be
// bad. Any error is a *FrameError. f is then unspecified.
func ParseFrame(b []byte, f *Frame) (n int, err error) {
	total, err := parsePrelude(b, MaxMessageLen)
	if err != nil {
		return 0, err
	}
	if len(b) < total {
		return 0, &FrameError{Err: ErrTruncated, Total: uint32(total), Header: -1,
			detail: fmt.Sprintf("%d of %d bytes", len(b), total)}
	}
	return total, parseBody(b[:total], f)
}

// parsePrelude returns the total length. The sizes are checked before the checksum, as the reference's
// channel reader does.
func parsePrelude(b []byte, limit int) (total int, err error) {
	if len(b) < preludeLen {
		return 0, &FrameError{Err: ErrTruncated, Header: -1,
			detail: fmt.Sprintf("%d of %d bytes of the prelude", len(b), preludeLen)}
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size > uint32(limit):
		err = ErrTooLarge
	case size < MinMessageLen:
		err = ErrLength
	case crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]):
		err = ErrPreludeChecksum
	default:
		return int(size), nil
	}
	return 0, &FrameError{Err: err, Total: size, HeadersLen: binary.BigEndian.Uint32(b[4:]), Header: -1,
		detail: fmt.Sprintf("total length %d", size)}
}

// parseBody decodes a message that is all there and whose prelude is right.
func parseBody(b []byte, f *Frame) error {
	end := len(b) - crcLen
	hlen := binary.BigEndian.Uint32(b[4:])
	crc := crc32.Update(binary.BigEndian.Uint32(b[8:]), crc32.IEEETable, b[8:end])
	if crc != binary.BigEndian.Uint32(b[end:]) {
		return &FrameError{Err: ErrMessageChecksum, Total: uint32(len(b)), HeadersLen: hlen, Header: -1}
	}
	if hlen > uint32(end-preludeLen) {
		return &FrameError{Err: ErrHeadersLength, Total: uint32(len(b)), HeadersLen: hlen, Header: -1,
			detail: fmt.Sprintf("%d bytes of headers in a message of %d", hlen, len(b))}
	}
	block := b[preludeLen : preludeLen+int(hlen)]
	f.Payload = b[preludeLen+int(hlen) : end : end]
	headers, err := parseHeaders(f.Headers[:0], block)
	if err != nil {
		err.Total, err.HeadersLen = uint32(len(b)), hlen
		return err
	}
	f.Headers = headers
	return nil
}

// parseHeaders appends the headers in block to dst. Names and values become parts of one string.
func parseHeaders(dst []Header, block []byte) ([]Header, *FrameError) {
	text := string(block)
	for i := 0; i < len(block); {
		if len(dst) == MaxHeaders {
			return nil, headerError(ErrTooManyHeaders, MaxHeaders, "a message has at most %d", MaxHeaders)
		}
		nameAt := i + 1
		typeAt := nameAt + int(block[i])
		if typeAt >= len(block) {
			return nil, headerError(ErrHeader, len(dst), "name of %d bytes does not fit", block[i])
		}
		i = typeAt + 1
		typ := HeaderType(block[typeAt])
		if int(typ) >= len(fixedLen) {
			return nil, headerError(ErrHeaderType, len(dst), "type %d", typ)
		}
		size := int(fixedLen[typ])
		if typ == HeaderTypeBytes || typ == HeaderTypeString {
			if len(block)-i < 2 {
				return nil, headerError(ErrHeader, len(dst), "length of the value is cut")
			}
			size = int(binary.BigEndian.Uint16(block[i:]))
			if size > MaxHeaderValueLen {
				return nil, headerError(ErrHeader, len(dst), "value of %d bytes", size)
			}
			i += 2
		}
		if len(block)-i < size {
			return nil, headerError(ErrHeader, len(dst), "value of %d bytes does not fit", size)
		}
		h := Header{name: text[nameAt:typeAt], typ: typ}
		value := block[i : i+size]
		switch typ {
		case HeaderTypeByte:
			h.num = int64(int8(value[0]))
		case HeaderTypeInt16:
			h.num = int64(int16(binary.BigEndian.Uint16(value)))
		case HeaderTypeInt32:
			h.num = int64(int32(binary.BigEndian.Uint32(value)))
		case HeaderTypeInt64, HeaderTypeTimestamp:
			h.num = int64(binary.BigEndian.Uint64(value))
		case HeaderTypeBytes, HeaderTypeString, HeaderTypeUUID:
			h.text = text[i : i+size]
		}
		dst = append(dst, h)
		i += size
	}
	return dst, nil
}
