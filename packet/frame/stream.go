package frame

// FlagReceivers is the bit of a frame about a stream that says that the stream was opened by the frame's
// receiver, whose tag it is. A CREDIT's flags hold the amount above it.
const FlagReceivers = 1

// Open says what a stream is that begins. The frame's tag is the stream's number.
type Open struct {
	Name     string
	Metadata []Pair
	// Credit is how many bytes the other end may send on the stream before it is allowed more.
	Credit uint64
}

const (
	openName = 1 + iota
	openMetadata
	openCredit
)

// Size returns what the name and the pairs count against the bound of them.
func (o *Open) Size() int64 { return int64(len(o.Name)) + PairsSize(o.Metadata) }

// Append appends the payload of an OPEN to dst.
func (o *Open) Append(dst []byte) []byte {
	if o.Name != "" {
		dst = appendBytes(dst, openName, o.Name)
	}
	dst = appendPairs(dst, openMetadata, o.Metadata)
	return appendNumber(dst, openCredit, o.Credit)
}

// ParseOpen is the reverse of Append. Values are parts of b. The error is a *FormatError.
func ParseOpen(b []byte) (Open, error) {
	var o Open
	r := reader{kind: KindOpen, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case openName:
			r.text(&o.Name, value)
		case openMetadata:
			o.Metadata = append(o.Metadata, r.pair(value))
		case openCredit:
			r.uint(&o.Credit, value)
		}
	}
	return o, r.err
}

// Reset says why a stream is over, or why no more data is wanted on it: it is the payload of RESET and of
// STOP.
type Reset struct {
	Code   uint64 // the application's
	Reason Reason
	Text   string
}

const (
	resetCode = 1 + iota
	resetReason
	resetText
)

// Append appends the payload of a RESET or STOP to dst.
func (s *Reset) Append(dst []byte) []byte {
	dst = appendNumber(dst, resetCode, s.Code)
	dst = appendNumber(dst, resetReason, uint64(s.Reason))
	if s.Text != "" {
		dst = appendBytes(dst, resetText, s.Text)
	}
	return dst
}

// ParseReset is the reverse of Append, for either kind. The error is a *FormatError.
func ParseReset(kind Kind, b []byte) (Reset, error) {
	var s Reset
	r := reader{kind: kind, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case resetCode:
			r.uint(&s.Code, value)
		case resetReason:
			r.uint((*uint64)(&s.Reason), value)
		case resetText:
			r.text(&s.Text, value)
		}
	}
	return s, r.err
}
