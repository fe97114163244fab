package packet

import "encoding/binary"

// Most headers are short: they take at most eight octets, of which one or two are the length, up to four the tag, and one each the
// flags and a request's type. To write and read those of a small call is a twentieth of all the work that it is for both ends: so they
// are put together and taken apart in one word.

const (
	shortOctets = 8
	shortTag    = 1 << 28       // the first tag that takes more than four octets
	shortSize   = 1<<14 - 1 - 6 // the largest payload whose length takes two, with the fields
)

// appendShort is Append for a short header. It reports false, and has appended nothing, for any other, or if dst may have to grow.
func (h *Header) appendShort(dst []byte) ([]byte, bool) {
	bits, octets, n := h.bits(), h.Tag&0x7f, 1
	switch {
	case h.Channel != 0 || bits >= 1<<7 || h.Request && h.Type >= 1<<7 || h.Tag >= shortTag || h.Size > shortSize:
		return dst, false
	case cap(dst)-len(dst) < shortOctets:
		return dst, false
	}
	for tag := h.Tag >> 7; tag > 0; tag >>= 7 {
		octets |= (tag&0x7f | 0x80) << (8 * n)
		n++
	}
	octets, n = octets<<8|bits, n+1
	if h.Request {
		octets, n = octets<<8|h.Type, n+1
	}
	length := uint64(n) + uint64(h.Size)
	if length >= 1<<7 {
		octets |= (length>>7 | 0x80) << (8*n + 8)
		octets |= (length & 0x7f) << (8 * n)
		n += 2
	} else {
		octets, n = octets|length<<(8*n), n+1
	}
	begin, end := len(dst), len(dst)+n
	dst = dst[:end]
	// Nothing behind the header is touched: its payload may be there already.
	if n < 4 {
		dst[begin] = byte(octets >> 16)
		binary.BigEndian.PutUint16(dst[begin+1:], uint16(octets))
	} else {
		binary.BigEndian.PutUint32(dst[begin:], uint32(octets>>(8*n-32)))
		binary.BigEndian.PutUint32(dst[end-4:], uint32(octets))
	}
	return dst, true
}

// parseShort is Parse for a short header at the start of at least eight octets, and returns 0, and has changed nothing, for any other.
func (h *Header) parseShort(b []byte) (n int) {
	if len(b) < shortOctets {
		return 0
	}
	octets := binary.BigEndian.Uint64(b) // the next one is the highest
	length := octets >> 56
	octets <<= 8
	if length >= 1<<7 {
		length = length&0x7f<<7 | octets>>56
		if octets>>63 != 0 {
			return 0
		}
		octets <<= 8
		n++
	}
	tag, fields := octets>>56&0x7f, 3 // with flags and the type
	for octets>>63 != 0 {
		if fields == 6 {
			return 0
		}
		octets <<= 8
		tag = tag<<7 | octets>>56&0x7f
		fields++
	}
	bits, typ := octets>>48&0xff, octets>>40&0xff
	request := bits&bitRequest != 0
	if !request {
		typ = 0
		fields--
	}
	if bits >= 1<<7 || bits&bitChannel != 0 || typ >= 1<<7 || uint64(fields) > length {
		return 0
	}
	h.Channel, h.Tag, h.Flags, h.Type, h.Request = 0, tag, bits>>flagsShift, typ, request
	h.Size = int64(length) - int64(fields)
	return n + 1 + fields
}
