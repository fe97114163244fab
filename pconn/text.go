package pconn

import (
	"strconv"
	"unicode/utf8"
)

// appendText appends s as UTF-8. What is not UTF-8 goes out as decimal character references, as the
// reference's xmlcharrefreplace does it: an encoded surrogate as the reference of its code point, any
// other bad byte b as that of the surrogate 0xDC00+b, by which Python stands in for it.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError || n > 1 {
			dst = append(dst, s[i:i+n]...)
			i += n
			continue
		}
		code, n := surrogateAt(s[i:])
		dst = append(dst, "&#"...)
		dst = strconv.AppendUint(dst, uint64(code), 10)
		dst = append(dst, ';')
		i += n
	}
	return dst
}

// surrogateAt returns the surrogate encoded at the start of s and its length, or the stand-in for
// the bad byte there.
func surrogateAt(s string) (code uint32, n int) {
	if len(s) >= 3 && s[0] == 0xED && s[1] >= 0xA0 && s[1] <= 0xBF && s[2]&0xC0 == 0x80 {
		return 0xD000 | uint32(s[1]&0x3F)<<6 | uint32(s[2]&0x3F), 3
	}
	return 0xDC00 + uint32(s[0]), 1
}
