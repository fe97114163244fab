package links

import "encoding/binary"

// The kinds of frames. The format is in the package comment.
const (
	frameHello byte = iota + 1
	frameTicket
	frameMore
	frameGrant
	framePing
	framePong
	frameGoAway
)

// The bits of a ticket's mask, in the order of the fields.
const (
	hasMethod = 1 << iota
	hasSubscription
	hasTimeout
	hasAllowance
	hasWindow
	hasInitial
	hasPayload
	hasTerminal
	hasCode
	hasMessage
	hasTermination
	hasProtocol
	maskEnd
)

const magic = "LNK1"

// The settings in HELLO.
const (
	settingFrame uint64 = iota + 1
	settingWindow
	settingOperations
	settingMetadata
	settingPayload
)

// settings are what one end announces.
type settings struct {
	frame, window, operations, metadata, payload uint64
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendHello(b []byte, side int, s settings) []byte {
	b = append(b, frameHello)
	b = append(b, magic...)
	b = append(b, byte(side))
	for _, pair := range [][2]uint64{{settingFrame, s.frame}, {settingWindow, s.window}, {settingOperations, s.operations},
		{settingMetadata, s.metadata}, {settingPayload, s.payload}} {
		b = binary.AppendUvarint(b, pair[0])
		b = binary.AppendUvarint(b, pair[1])
	}
	return b
}

// uvarintLen is how many bytes a number takes.
func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func metadataLen(m Metadata) int {
	n := uvarintLen(uint64(len(m)))
	for _, pair := range m {
		n += uvarintLen(uint64(len(pair.Key))) + len(pair.Key) + uvarintLen(uint64(len(pair.Value))) + len(pair.Value)
	}
	return n
}

func appendMetadata(b []byte, m Metadata) []byte {
	b = binary.AppendUvarint(b, uint64(metadataLen(m)))
	b = binary.AppendUvarint(b, uint64(len(m)))
	for _, pair := range m {
		b = appendString(b, pair.Key)
		b = appendString(b, pair.Value)
	}
	return b
}

// describedLen is the size of all in a ticket that the limit on metadata counts.
func describedLen(t *Ticket) int {
	n := len(t.Group) + len(t.Method)
	if t.Initial != nil {
		n += metadataLen(t.Initial)
	}
	if t.Terminal != nil {
		n += metadataLen(t.Terminal)
	}
	if t.Message != nil {
		n += len(*t.Message)
	}
	if t.Protocol != nil {
		n += metadataLen(t.Protocol.Value)
	}
	return n
}

// appendTicket encodes t with the name, number and window of the connection, and the first piece of its payload.
func appendTicket(b []byte, wireID, seq uint64, first bool, window uint64, t *Ticket, piece []byte) []byte {
	b = append(b, frameTicket)
	b = binary.AppendUvarint(b, wireID)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, maskOf(first, window, t))
	if first {
		b = appendString(b, t.Group)
		b = appendString(b, t.Method)
	}
	if t.Subscription != 0 {
		b = append(b, byte(t.Subscription))
	}
	if t.Timeout > 0 {
		b = binary.AppendUvarint(b, uint64(t.Timeout))
	}
	if t.Allowance > 0 {
		b = binary.AppendUvarint(b, uint64(t.Allowance))
	}
	if window > 0 {
		b = binary.AppendUvarint(b, window)
	}
	if t.Initial != nil {
		b = appendMetadata(b, t.Initial)
	}
	if t.Payload != nil {
		b = binary.AppendUvarint(b, uint64(t.Payload.size))
		b = binary.AppendUvarint(b, uint64(len(piece)))
		b = append(b, piece...)
	}
	return appendEnd(b, t)
}

func appendEnd(b []byte, t *Ticket) []byte {
	if t.Terminal != nil {
		b = appendMetadata(b, t.Terminal)
	}
	if t.Code != nil {
		b = binary.AppendUvarint(b, uint64(*t.Code))
	}
	if t.Message != nil {
		b = appendString(b, *t.Message)
	}
	if t.Termination != 0 {
		b = append(b, byte(t.Termination))
	}
	if t.Protocol != nil {
		b = append(b, byte(t.Protocol.Kind))
		b = appendMetadata(b, t.Protocol.Value)
	}
	return b
}

func maskOf(first bool, window uint64, t *Ticket) uint64 {
	var mask uint64
	for _, field := range [...]struct {
		present bool
		bit     uint64
	}{
		{first, hasMethod}, {t.Subscription != 0, hasSubscription}, {t.Timeout > 0, hasTimeout}, {t.Allowance > 0, hasAllowance},
		{window > 0, hasWindow}, {t.Initial != nil, hasInitial}, {t.Payload != nil, hasPayload}, {t.Terminal != nil, hasTerminal},
		{t.Code != nil, hasCode}, {t.Message != nil, hasMessage}, {t.Termination != 0, hasTermination}, {t.Protocol != nil, hasProtocol},
	} {
		if field.present {
			mask |= field.bit
		}
	}
	return mask
}

func appendMore(b []byte, wireID, seq, offset uint64, piece []byte) []byte {
	b = append(b, frameMore)
	b = binary.AppendUvarint(b, wireID)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, offset)
	return append(b, piece...)
}

func appendGrant(b []byte, wireID uint64, allowance uint32, window uint64) []byte {
	b = append(b, frameGrant)
	b = binary.AppendUvarint(b, wireID)
	b = binary.AppendUvarint(b, uint64(allowance))
	return binary.AppendUvarint(b, window)
}

func appendPing(b []byte, kind byte, token [8]byte) []byte {
	b = append(b, kind)
	return append(b, token[:]...)
}

func appendGoAway(b []byte, last uint64, reason string) []byte {
	b = append(b, frameGoAway)
	b = binary.AppendUvarint(b, last)
	return appendString(b, reason)
}
