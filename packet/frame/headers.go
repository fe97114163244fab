package frame

import (
	"time"

	"github.com/packetstream/packetstream/packet"
)

// Pair is a text key and its value.
type Pair struct {
	Key   string
	Value []byte
}

// pairCost is what a pair counts beside its octets, since it takes memory however short it is.
const pairCost = 32

// PairsSize returns what the pairs count against the bounds of PROTOCOL.md: their octets, and 32 for each.
func PairsSize(pairs []Pair) int64 {
	n := int64(0)
	for i := range pairs {
		n += int64(len(pairs[i].Key)) + int64(len(pairs[i].Value)) + pairCost
	}
	return n
}

// Headers is what goes with a request or a response beside what the packet itself can say.
type Headers struct {
	// Timeout is the time left to answer a request, or 0 for no bound. It is carried in microseconds.
	Timeout time.Duration

	Metadata []Pair

	// Of a response "not ok".
	Code    uint64 // the application's
	Details []Pair
	Reason  Reason
}

// Reason says why a response is "not ok", where it is not the handler who says so, or why a request is
// given up.
type Reason uint64

const (
	// ReasonNone is the handler's own, or nobody's in particular.
	ReasonNone Reason = iota
	// ReasonRefused says of a response that no handler has seen the request or ever will.
	ReasonRefused
	// ReasonGoingAway is ReasonRefused since the end goes away.
	ReasonGoingAway
	// ReasonDeadline says that the time to answer is over.
	ReasonDeadline
	// ReasonCancelled says that the caller gave up.
	ReasonCancelled
)

const (
	headersTimeout = 1 + iota
	headersMetadata
	headersCode
	headersDetail
	headersReason
)

// Empty reports whether there is nothing to say.
func (h *Headers) Empty() bool {
	return h.Timeout == 0 && len(h.Metadata) == 0 && h.Code == 0 && len(h.Details) == 0 && h.Reason == 0
}

// Size returns what the headers count against the bound of them.
func (h *Headers) Size() int64 { return PairsSize(h.Metadata) + PairsSize(h.Details) }

// Append appends the payload of a HEADERS to dst. A timeout is rounded up.
func (h *Headers) Append(dst []byte) []byte {
	dst = appendNumber(dst, headersTimeout, microseconds(h.Timeout))
	dst = appendPairs(dst, headersMetadata, h.Metadata)
	dst = appendNumber(dst, headersCode, h.Code)
	dst = appendPairs(dst, headersDetail, h.Details)
	return appendNumber(dst, headersReason, uint64(h.Reason))
}

func microseconds(d time.Duration) uint64 {
	return uint64((max(d, 0) + time.Microsecond - 1) / time.Microsecond)
}

// maxTimeout is the longest timeout that a time.Duration holds.
const maxTimeout = uint64(1<<63-1) / uint64(time.Microsecond)

func appendPairs(dst []byte, key uint64, pairs []Pair) []byte {
	for i := range pairs {
		p := &pairs[i]
		dst = packet.AppendUint(dst, key)
		dst = packet.AppendUint(dst, uint64(packet.UintLen(uint64(len(p.Key)))+len(p.Key)+len(p.Value)))
		dst = packet.AppendUint(dst, uint64(len(p.Key)))
		dst = append(dst, p.Key...)
		dst = append(dst, p.Value...)
	}
	return dst
}

// ParseHeaders is the reverse of Append. Values are parts of b. The error is a *FormatError.
func ParseHeaders(b []byte) (Headers, error) {
	var h Headers
	r := reader{kind: KindHeaders, rest: b}
	for value, ok := r.next(); ok; value, ok = r.next() {
		switch r.key {
		case headersTimeout:
			var us uint64
			r.uint(&us, value)
			h.Timeout = time.Duration(min(us, maxTimeout)) * time.Microsecond
		case headersMetadata:
			h.Metadata = append(h.Metadata, r.pair(value))
		case headersCode:
			r.uint(&h.Code, value)
		case headersDetail:
			h.Details = append(h.Details, r.pair(value))
		case headersReason:
			r.uint((*uint64)(&h.Reason), value)
		}
	}
	return h, r.err
}

// pair splits a value in its key and the rest.
func (r *reader) pair(value []byte) Pair {
	size, n, err := packet.DecodeUint(value)
	switch {
	case err != nil:
		r.fail(err)
		return Pair{}
	case size > uint64(len(value)-n):
		r.fail(ErrShort)
		return Pair{}
	}
	at := n + int(size)
	return Pair{Key: string(value[n:at]), Value: value[at:len(value):len(value)]}
}
