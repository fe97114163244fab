package packet

import "math/bits"

// AppendUint appends the shortest BSUint form of v to dst and returns the extended slice.
func AppendUint(dst []byte, v uint64) []byte {
	if v < 1<<7 {
		return append(dst, byte(v))
	}
	return appendLongUint(dst, v)
}

func appendLongUint(dst []byte, v uint64) []byte {
	for shift := 7 * (UintLen(v) - 1); shift > 0; shift -= 7 {
		dst = append(dst, byte(v>>shift)|0x80)
	}
	return append(dst, byte(v)&0x7f)
}

// UintLen returns the number of octets that AppendUint appends for v.
func UintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// DecodeUint decodes the BSUint at the start of b and returns its value and the number of octets
// it takes. Over-long forms (leading 0x80 octets) are accepted up to MaxNumber octets.
//
// The error is ErrShort if b ends before the number does, ErrOverflow if the value does not fit
// in 64 bits, and ErrOverlong if the form takes more than MaxNumber octets.
func DecodeUint(b []byte) (v uint64, n int, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1, nil
	}
	return decodeLongUint(b)
}

func decodeLongUint(b []byte) (v uint64, n int, err error) {
	for n < len(b) {
		if n == MaxNumber {
			return 0, 0, ErrOverlong
		}
		c := b[n]
		n++
		if v>>57 != 0 {
			return 0, 0, ErrOverflow
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, n, nil
		}
	}
	if n == MaxNumber {
		return 0, 0, ErrOverlong
	}
	return 0, 0, ErrShort
}
