package frame

// Cancel says that a request is given up. The frame's tag is the request's.
type Cancel struct {
	Channel uint64 // of the request
	Reason  Reason // ReasonCancelled or ReasonDeadline
	Code    uint64 // the application's
	Text    string
}

const (
	cancelChannel = 1 + iota
	cancelReason
	cancelCode
	cancelText
)

// Append appends the payload of a CANCEL to dst.
func (c *Cancel) Append(dst []byte) []byte {
	dst = appendNumber(dst, cancelChannel, c.Channel)
	dst = appendNumber(dst, cancelReason, uint64(c.Reason))
	dst = appendNumber(dst, cancelCode, c.Code)
	if c.Text != "" {
		dst = appendBytes(dst, cancelText, c.Text)
	}
	return dst
}

// ParseCancel is the reverse of Append. The error is a *FormatError.
func ParseCancel(b []byte) (Cancel, error) {
	var c Cancel
	r := reader{kind: KindCancel, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case cancelChannel:
			r.uint(&c.Channel, value)
		case cancelReason:
			r.uint((*uint64)(&c.Reason), value)
		case cancelCode:
			r.uint(&c.Code, value)
		case cancelText:
			r.text(&c.Text, value)
		}
	}
	return c, r.err
}
