package packet

const (
	// MaxNumber is the most octets that one BSUint may take on the wire. Ten hold any 64-bit
	// value; the rest is room for the over-long forms that existing peers accept, bounded so
	// that a header can always be held in a small buffer.
	MaxNumber = 256

	// MaxHeader is the most octets that a packet's header may take: five numbers.
	MaxHeader = 5 * MaxNumber

	// MaxPayload is the most bytes that one payload may have, 2 GiB. A length past it is taken
	// for garbage, since reading on would mean to skip more than anybody sends.
	MaxPayload = 1 << 31

	// maxLength is the largest length that some header could make good: the longest payload behind
	// the longest fields. A larger one is known for garbage before any field has arrived.
	maxLength = MaxPayload + MaxHeader - MaxNumber

	// MaxFlags is the largest value of Packet.Flags: a request's flags share a 64-bit number
	// with the packet's two own bits.
	MaxFlags = 1<<62 - 1
)
