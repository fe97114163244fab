package links

import (
	"encoding/binary"
	"time"
)

// frame is a decoded frame. What it holds of the input is only valid as long as the input is, but for the ticket, which is a copy but for
// its piece.
type frame struct {
	kind      byte
	id, seq   uint64
	mask      uint64
	window    uint64
	allowance uint32
	total     uint64 // the payload's size
	offset    uint64
	piece     []byte
	in        *incoming
	side      int
	hello     settings
	token     [8]byte
	reason    string
}

// incoming is a ticket on its way in. It is used again once it was handed on and nobody has kept the ticket.
type incoming struct {
	ticket  Ticket
	total   int
	stash   map[uint64][]byte // pieces that came before their turn, by offset
	known   bool              // the ticket itself has come
	granted int64             // bytes of the payload that were credited before it was whole
}

func (in *incoming) whole() bool {
	return in.known && (in.ticket.Payload == nil || len(in.ticket.Payload.data) == in.total || in.ticket.Payload.refused)
}

// decoder reads frames. It checks every size against a limit before it takes memory for it.
type decoder struct {
	maxMetadata int
	names       map[string]string
	spare       *incoming
}

// take returns an incoming for a ticket.
func (d *decoder) take() *incoming {
	in := d.spare
	if d.spare = nil; in == nil {
		in = new(incoming)
	}
	in.known = true
	return in
}

// giveBack keeps an incoming of which nobody has anything any more.
func (d *decoder) giveBack(in *incoming) {
	*in = incoming{}
	d.spare = in
}

// cursor reads one frame; the first fault stays.
type cursor struct {
	rest  []byte
	fault string
}

func (c *cursor) fail(fault string) {
	if c.fault == "" {
		c.fault = fault
	}
	c.rest = nil
}

func (c *cursor) byte() byte {
	if len(c.rest) == 0 {
		c.fail("frame ends early")
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

func (c *cursor) uvarint() uint64 {
	if len(c.rest) > 0 && c.rest[0] < 0x80 {
		v := uint64(c.rest[0])
		c.rest = c.rest[1:]
		return v
	}
	v, n := binary.Uvarint(c.rest)
	switch {
	case n == 0:
		c.fail("frame ends early")
		return 0
	case n < 0 || n > 1 && c.rest[n-1] == 0:
		c.fail("number not in its shortest form or above 64 bits")
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// max reads a number that must not exceed limit.
func (c *cursor) max(limit uint64, what string) uint64 {
	v := c.uvarint()
	if v > limit {
		c.fail(what + " out of range")
		return 0
	}
	return v
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.fail("frame ends early")
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (d *decoder) decode(b []byte, f *frame) error {
	c := cursor{rest: b}
	f.kind = c.byte()
	switch f.kind {
	case frameHello:
		d.hello(&c, f)
	case frameTicket:
		d.ticket(&c, f)
	case frameMore:
		f.id, f.seq, f.offset = c.uvarint(), c.uvarint(), c.uvarint()
		f.piece = c.rest
		if c.fault == "" && len(f.piece) == 0 {
			c.fail("piece without bytes")
		}
		c.rest = nil
	case frameGrant:
		f.id = c.uvarint()
		f.allowance = uint32(c.max(1<<32-1, "allowance"))
		f.window = c.max(maxWindow, "window")
	case framePing, framePong:
		copy(f.token[:], c.bytes(8))
	case frameGoAway:
		f.id = c.uvarint()
		f.reason = string(c.bytes(c.max(uint64(d.maxMetadata), "reason")))
	default:
		c.fail("unknown kind of frame")
	}
	if c.fault == "" && len(c.rest) > 0 {
		c.fail("bytes after the end of the frame")
	}
	if c.fault != "" {
		return &ProtocolError{Detail: c.fault, Seen: shown(b)}
	}
	return nil
}

func shown(b []byte) []byte { return append([]byte(nil), b[:min(len(b), shownBytes)]...) }

func (d *decoder) hello(c *cursor, f *frame) {
	if string(c.bytes(uint64(len(magic)))) != magic {
		c.fail("not the HELLO of this protocol")
	}
	f.side = int(c.byte())
	if f.side > 1 {
		c.fail("side out of range")
	}
	for len(c.rest) > 0 {
		setting, value := c.uvarint(), c.uvarint()
		switch setting {
		case settingFrame:
			f.hello.frame = value
		case settingWindow:
			f.hello.window = value
		case settingOperations:
			f.hello.operations = value
		case settingMetadata:
			f.hello.metadata = value
		case settingPayload:
			f.hello.payload = value
		}
	}
	if c.fault == "" && (f.hello.frame < pieceSize+frameOverhead || f.hello.window < minWindow || f.hello.window > maxWindow) {
		c.fail("setting out of range")
	}
}

func (d *decoder) ticket(c *cursor, f *frame) {
	f.id, f.seq, f.mask = c.uvarint(), c.uvarint(), c.uvarint()
	if f.mask >= maskEnd {
		c.fail("unknown field in a ticket")
	}
	if c.fault != "" {
		return
	}
	f.in = d.take()
	t := &f.in.ticket
	if f.mask&hasMethod != 0 {
		t.Group, t.Method = d.name(c), d.name(c)
	}
	if f.mask&hasSubscription != 0 {
		t.Subscription = Subscription(c.enum(byte(SubscriptionFull), "subscription"))
	}
	if f.mask&hasTimeout != 0 {
		t.Timeout = time.Duration(c.positive(1<<63-1, "timeout"))
	}
	if f.mask&hasAllowance != 0 {
		t.Allowance = uint32(c.positive(1<<32-1, "allowance"))
	}
	if f.mask&hasWindow != 0 {
		f.window = c.positive(maxWindow, "window")
	}
	if f.mask&hasInitial != 0 {
		t.Initial = d.metadata(c)
	}
	if f.mask&hasPayload != 0 {
		f.total = c.max(hardMaxPayload, "payload size")
		f.piece = c.bytes(c.max(f.total, "piece"))
		t.Payload = new(Payload)
	}
	d.ticketEnd(c, f)
}

func (d *decoder) ticketEnd(c *cursor, f *frame) {
	t := &f.in.ticket
	if f.mask&hasTerminal != 0 {
		t.Terminal = d.metadata(c)
	}
	if f.mask&hasCode != 0 {
		code := uint32(c.max(1<<32-1, "code"))
		t.Code = &code
	}
	if f.mask&hasMessage != 0 {
		message := string(c.bytes(c.max(uint64(d.maxMetadata), "message")))
		t.Message = &message
	}
	if f.mask&hasTermination != 0 {
		t.Termination = Termination(c.enum(byte(RemoteFailure), "termination"))
	}
	if f.mask&hasProtocol != 0 {
		t.Protocol = &Protocol{Kind: ProtocolKind(c.enum(byte(InvocationContext), "protocol"))}
		t.Protocol.Value = d.metadata(c)
	}
}

// enum reads a byte from 1 to last.
func (c *cursor) enum(last byte, what string) byte {
	b := c.byte()
	if b == 0 || b > last {
		c.fail(what + " out of range")
	}
	return b
}

// positive reads a number whose absence would have been 0.
func (c *cursor) positive(limit uint64, what string) uint64 {
	v := c.max(limit, what)
	if v == 0 {
		c.fail(what + " out of range")
	}
	return v
}

// name reads a group or method, which is mostly one of few.
func (d *decoder) name(c *cursor) string {
	b := c.bytes(c.max(uint64(d.maxMetadata), "name"))
	if name, ok := d.names[string(b)]; ok {
		return name
	}
	name := string(b)
	if len(name) <= maxNameLength && len(d.names) < maxNames {
		if d.names == nil {
			d.names = make(map[string]string)
		}
		d.names[name] = name
	}
	return name
}

// metadata reads a block: its strings share one piece of memory.
func (d *decoder) metadata(c *cursor) Metadata {
	block := c.bytes(c.max(uint64(d.maxMetadata), "metadata size"))
	in := cursor{rest: block, fault: c.fault}
	count := in.uvarint()
	// A pair takes two bytes at least, so a count beyond that is refused before memory is taken for it.
	if count > uint64(len(in.rest))/2 {
		in.fail("metadata count out of range")
	}
	if in.fault != "" {
		c.fail(in.fault)
		return nil
	}
	m := make(Metadata, count)
	text := string(in.rest)
	for i := range m {
		m[i].Key = in.substring(text)
		m[i].Value = in.substring(text)
	}
	if in.fault == "" && len(in.rest) > 0 {
		in.fail("bytes after the end of metadata")
	}
	if in.fault != "" {
		c.fail(in.fault)
		return nil
	}
	return m
}

// substring reads a string as part of whole, whose end is what is left of the cursor.
func (c *cursor) substring(whole string) string {
	size := c.uvarint()
	start := len(whole) - len(c.rest)
	return whole[start : start+len(c.bytes(size))]
}
