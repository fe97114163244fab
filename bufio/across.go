package bufio

import "slices"

// TryReadAcross is TryRead of up to at bytes, for who has a guess at what is behind them: gap bytes to look at, and then more
// of what p is for. If nothing is buffered and the stream can be asked for that, one read puts the bytes behind the gap into
// p[at:], where they need not be copied to. There are beyond of them, and the gap is buffered. They are not taken yet: the next
// call, but for Peek and Skip of the gap, has to be Settle.
func (in *Input) TryReadAcross(p []byte, at, gap int) (n, beyond int, err error) {
	if in.Buffered() > 0 || at < in.size || gap >= bufferSmall || len(p) > maxRead {
		n, err = in.TryRead(p[:at])
		return n, 0, err
	}
	in.filled, in.size = false, bufferSmall
	in.into, in.beyond, in.gap = p[:at], int32(len(p)-at), int32(gap)
	n, err = in.readOrigin(false)
	if behind := n - at; behind > 0 {
		n = at
		beyond = max(0, min(behind-gap, len(p)-at))
		in.w = behind - beyond
	}
	in.into, in.over, in.beyond, in.gap = nil, nil, 0, 0
	in.eager.bulk = true
	in.off += int64(n)
	return n, beyond, err
}

// Settle takes the first bytes of what TryReadAcross has put beyond the gap, which are in b, and puts the others back where
// they stand in the stream. If some are taken, the gap has to be taken already.
func (in *Input) Settle(b []byte, taken, gap int) {
	in.off += int64(taken)
	b = b[taken:]
	if len(b) == 0 {
		return
	}
	if taken > 0 {
		gap = 0
	}
	held := in.buf[in.r:in.w]
	in.adopt(slices.Concat(held[:gap], b, held[gap:]))
}
