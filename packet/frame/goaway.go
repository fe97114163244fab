package frame

// GoAway says that an end takes no new requests and streams, and finishes what it has taken.
type GoAway struct {
	Code uint64 // the application's
	Text string
}

const (
	goAwayCode = 1 + iota
	goAwayText
)

// Append appends the payload of a GOAWAY to dst.
func (g *GoAway) Append(dst []byte) []byte {
	dst = appendNumber(dst, goAwayCode, g.Code)
	if g.Text != "" {
		dst = appendBytes(dst, goAwayText, g.Text)
	}
	return dst
}

// ParseGoAway is the reverse of Append. The error is a *FormatError.
func ParseGoAway(b []byte) (GoAway, error) {
	var g GoAway
	r := reader{kind: KindGoAway, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case goAwayCode:
			r.uint(&g.Code, value)
		case goAwayText:
			r.text(&g.Text, value)
		}
	}
	return g, r.err
}
