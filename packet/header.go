package packet

// Header is a packet without its payload, of which it has the size.
type Header struct {
	Channel uint64
	Tag     uint64
	Flags   uint64 // at most MaxFlags
	Type    uint64 // as on the wire; requests only
	Request bool
	Size    int64 // bytes of payload that follow
}

const (
	bitChannel = 1 << 0
	bitRequest = 1 << 1
	flagsShift = 2
)

// IsEOF reports whether the packet is EOF, by value: over-long numbers and a written channel 0 count.
func (h *Header) IsEOF() bool { return *h == Header{Request: true} }

// IsERQ reports whether the packet is ERQ, by value.
func (h *Header) IsERQ() bool { return *h == Header{Request: true, Tag: 1} }

func (h *Header) bits() uint64 {
	bits := h.Flags << flagsShift
	if h.Channel != 0 {
		bits |= bitChannel
	}
	if h.Request {
		bits |= bitRequest
	}
	return bits
}

// fieldsLen returns the octets between the length and the payload.
func (h *Header) fieldsLen() int {
	n := UintLen(h.Tag) + UintLen(h.bits())
	if h.Channel != 0 {
		n += UintLen(h.Channel)
	}
	if h.Request {
		n += UintLen(h.Type)
	}
	return n
}

// Len returns the number of octets that Append appends.
func (h *Header) Len() int {
	n := h.fieldsLen()
	return UintLen(uint64(n)+uint64(h.Size)) + n
}

// Append appends the canonical form of everything before the payload to dst, so that a payload can
// be sent from where it is. It returns the extended slice, or dst unchanged with ErrFlags or
// ErrPayload.
func (h *Header) Append(dst []byte) ([]byte, error) {
	if h.Flags > MaxFlags {
		return dst, ErrFlags
	}
	if h.Size < 0 || h.Size > MaxPayload {
		return dst, ErrPayload
	}
	if short, ok := h.appendShort(dst); ok {
		return short, nil
	}
	dst = AppendUint(dst, uint64(h.fieldsLen())+uint64(h.Size))
	dst = AppendUint(dst, h.Tag)
	dst = AppendUint(dst, h.bits())
	if h.Channel != 0 {
		dst = AppendUint(dst, h.Channel)
	}
	if h.Request {
		dst = AppendUint(dst, h.Type)
	}
	return dst, nil
}

func (h *Header) packet(payload []byte) Packet {
	return Packet{Channel: h.Channel, Tag: h.Tag, Flags: h.Flags, Type: h.Type, Request: h.Request, Payload: payload}
}

// ParseHeader parses the header at the start of b, which need not hold the payload, and returns the
// number of octets it takes.
//
// The error is ErrShort if b ends inside the header, or a *FormatError. A bad field is found as
// soon as its last octet is there.
func ParseHeader(b []byte) (h Header, n int, err error) {
	n, err = h.Parse(b)
	return h, n, err
}

// Parse is ParseHeader into memory of the caller's, for who takes many. After an error h is the zero Header.
func (h *Header) Parse(b []byte) (n int, err error) {
	if n := h.parseShort(b); n > 0 {
		return n, nil
	}
	return h.parseLong(b)
}

func (h *Header) parseLong(b []byte) (n int, err error) {
	*h = Header{}
	length, n, err := DecodeUint(b)
	if err != nil {
		return 0, fieldError("length", err, false)
	}
	if length > maxLength {
		return 0, fieldError("length", ErrLength, false)
	}
	fields := b[n:]
	whole := uint64(len(fields)) >= length
	if whole {
		fields = fields[:length]
	}
	took, err := h.parseFields(fields, whole)
	if err != nil {
		*h = Header{}
		return 0, err
	}
	rest := length - uint64(took)
	if rest > MaxPayload {
		*h = Header{}
		return 0, fieldError("length", ErrLength, false)
	}
	h.Size = int64(rest)
	return n + took, nil
}

// parseFields parses what is between the length and the payload, and returns how many octets that takes. If b is whole it
// goes to the packet's end, so that a shortage is the packet's own fault.
func (h *Header) parseFields(b []byte, whole bool) (n int, err error) {
	tag, n, err := DecodeUint(b)
	if err != nil {
		return 0, fieldError("tag", err, whole)
	}
	bits, took, err := DecodeUint(b[n:])
	if err != nil {
		return 0, fieldError("flags", err, whole)
	}
	h.Tag, h.Flags = tag, bits>>flagsShift
	n += took
	if bits&bitChannel != 0 {
		if h.Channel, took, err = DecodeUint(b[n:]); err != nil {
			return 0, fieldError("channel", err, whole)
		}
		n += took
	}
	if bits&bitRequest != 0 {
		h.Request = true
		if h.Type, took, err = DecodeUint(b[n:]); err != nil {
			return 0, fieldError("type", err, whole)
		}
		n += took
	}
	return n, nil
}

// fieldError is the error of a field of which more bytes may still come, unless the packet is there as a whole.
func fieldError(name string, err error, whole bool) error {
	if err == ErrShort {
		if !whole {
			return err
		}
		err = ErrFields
	}
	return &FormatError{Field: name, Err: err}
}
