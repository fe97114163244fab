package packet

// Packet is one packet as it is on the wire. The zero value is the shortest response.
type Packet struct {
	Channel uint64
	Tag     uint64
	Flags   uint64 // at most MaxFlags
	Type    uint64 // as on the wire; requests only
	Request bool
	Payload []byte
}

// EOF returns the request that ends a direction: nothing follows it.
func EOF() Packet { return Packet{Request: true} }

// ERQ returns the request by which release 20240630 announces that it will send no more requests.
func ERQ() Packet { return Packet{Request: true, Tag: 1} }

// Append appends the packet's canonical form to dst: the shortest numbers, and a channel only if it
// is not 0. It returns the extended slice, or dst unchanged with ErrFlags or ErrPayload.
func (p *Packet) Append(dst []byte) ([]byte, error) {
	h := Header{Channel: p.Channel, Tag: p.Tag, Flags: p.Flags, Type: p.Type, Request: p.Request, Size: int64(len(p.Payload))}
	out, err := h.Append(dst)
	if err != nil {
		return dst, err
	}
	return append(out, p.Payload...), nil
}

// Len returns the number of bytes that Append appends.
func (p *Packet) Len() int {
	h := Header{Channel: p.Channel, Tag: p.Tag, Flags: p.Flags, Type: p.Type, Request: p.Request, Size: int64(len(p.Payload))}
	return h.Len() + len(p.Payload)
}

// Decode decodes the packet at the start of b and returns the number of bytes it takes. Its payload
// is a part of b, not a copy.
//
// The error is ErrShort if b does not hold the whole packet, or a *FormatError.
func Decode(b []byte) (p Packet, n int, err error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return Packet{}, 0, err
	}
	if h.Size > int64(len(b)-n) {
		return Packet{}, 0, ErrShort
	}
	end := n + int(h.Size)
	return h.packet(b[n:end:end]), end, nil
}
