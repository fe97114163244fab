package frame

// Version is the version of the frames that this package knows.
const Version = 1

// Features that an end may have beyond what version 1 has always.
const (
	FeatureStreams = 1 << iota // it takes OPEN and the frames about streams
	FeaturePieces              // it takes PIECE
	FeatureFiles               // it takes FILES
)

// Hello is what an end says of itself, in its HELLO and in its answer to one. Every number but Version may
// be 0: then the feature is not there or nothing is allowed, unless a field says otherwise.
type Hello struct {
	Version  uint64 // at least 1
	Features uint64
	Cookie   []byte // for the other end to recognise this one, or nil

	// What this end takes from the other. 0 stands for the value of PROTOCOL.md's chapter 8 or 12.
	MaxPayload      uint64 // bytes of payload in one request or response
	MaxRequests     uint64 // requests unanswered
	MaxRequestBytes uint64 // their bytes of payload and metadata
	MaxHeaders      uint64 // bytes of one HEADERS, by Headers.Size and as they are on the wire

	// Streams that the other end has opened.
	MaxStreams   uint64 // open at a time
	MaxBacklog   uint64 // of them, not yet accepted
	StreamCredit uint64 // bytes that may be sent on a new stream at once, in either direction

	MaxFiles uint64 // files that it takes with one request or response
}

const (
	helloVersion = 1 + iota
	helloFeatures
	helloCookie
	helloMaxPayload
	helloMaxRequests
	helloMaxRequestBytes
	helloMaxHeaders
	helloMaxStreams
	helloMaxBacklog
	helloStreamCredit
	helloMaxFiles
)

// Append appends the payload of a HELLO, or of an answer to it, to dst.
func (h *Hello) Append(dst []byte) []byte {
	dst = appendNumber(dst, helloVersion, h.Version)
	dst = appendNumber(dst, helloFeatures, h.Features)
	if h.Cookie != nil {
		dst = appendBytes(dst, helloCookie, h.Cookie)
	}
	dst = appendNumber(dst, helloMaxPayload, h.MaxPayload)
	dst = appendNumber(dst, helloMaxRequests, h.MaxRequests)
	dst = appendNumber(dst, helloMaxRequestBytes, h.MaxRequestBytes)
	dst = appendNumber(dst, helloMaxHeaders, h.MaxHeaders)
	dst = appendNumber(dst, helloMaxStreams, h.MaxStreams)
	dst = appendNumber(dst, helloMaxBacklog, h.MaxBacklog)
	dst = appendNumber(dst, helloStreamCredit, h.StreamCredit)
	return appendNumber(dst, helloMaxFiles, h.MaxFiles)
}

// ParseHello is the reverse of Append. The cookie is a part of b. The error is a *FormatError.
func ParseHello(b []byte) (Hello, error) {
	var h Hello
	r := reader{kind: KindHello, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case helloVersion:
			r.uint(&h.Version, value)
		case helloFeatures:
			r.uint(&h.Features, value)
		case helloCookie:
			r.once()
			h.Cookie = value
		case helloMaxPayload:
			r.uint(&h.MaxPayload, value)
		case helloMaxRequests:
			r.uint(&h.MaxRequests, value)
		case helloMaxRequestBytes:
			r.uint(&h.MaxRequestBytes, value)
		case helloMaxHeaders:
			r.uint(&h.MaxHeaders, value)
		case helloMaxStreams:
			r.uint(&h.MaxStreams, value)
		case helloMaxBacklog:
			r.uint(&h.MaxBacklog, value)
		case helloStreamCredit:
			r.uint(&h.StreamCredit, value)
		case helloMaxFiles:
			r.uint(&h.MaxFiles, value)
		}
	}
	if r.err == nil && h.Version == 0 {
		r.key = helloVersion
		r.fail(ErrMissing)
	}
	return h, r.err
}
