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
	length, n, err := DecodeUint(b)
	if err != nil {
		return Header{}, 0, fieldError("length", err)
	}
	if length > maxLength {
		return Header{}, 0, fieldError("length", ErrLength)
	}
	f := fields{b: b[n:]}
	if uint64(len(f.b)) >= length {
		f.b, f.whole = f.b[:length], true
	}
	h.Tag = f.next("tag")
	bits := f.next("flags")
	if bits&bitChannel != 0 {
		h.Channel = f.next("channel")
	}
	if bits&bitRequest != 0 {
		h.Request = true
		h.Type = f.next("type")
	}
	if f.err != nil {
		return Header{}, 0, f.err
	}
	h.Flags = bits >> flagsShift
	rest := length - uint64(f.n)
	if rest > MaxPayload {
		return Header{}, 0, fieldError("length", ErrLength)
	}
	h.Size = int64(rest)
	return h, n + f.n, nil
}

// fields reads a packet's numbers one after another and remembers the first error.
type fields struct {
	b     []byte
	n     int  // octets read
	whole bool // b goes to the packet's end, so that a shortage is the packet's own fault
	err   error
}

func (f *fields) next(name string) uint64 {
	if f.err != nil {
		return 0
	}
	v, n, err := DecodeUint(f.b[f.n:])
	if err != nil {
		if err == ErrShort && f.whole {
			err = ErrFields
		}
		f.err = fieldError(name, err)
		return 0
	}
	f.n += n
	return v
}

func fieldError(name string, err error) error {
	if err == ErrShort {
		return err
	}
	return &FormatError{Field: name, Err: err}
}
