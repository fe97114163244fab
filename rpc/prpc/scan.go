package prpc

import (
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// scanner checks that bytes are well-formed msgpack within limits before anything
// is made of them. What it passed can be decoded without further checks of sizes:
// every length is backed by bytes that are there.
type scanner struct {
	depth    int // levels still allowed
	elements int // values still allowed
}

// scan checks that b is exactly one value.
func scan(b []byte, limits *Limits) error {
	s := scanner{depth: limits.Depth, elements: limits.Elements}
	rest, err := s.value(b)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return violation(Malformed, "%d bytes after the message", len(rest))
	}
	return nil
}

// value checks one value and returns what follows it.
func (s *scanner) value(b []byte) ([]byte, error) {
	if s.elements--; s.elements < 0 {
		return nil, violation(TooMany, "")
	}
	switch f, n := shortForm(b); {
	case f == formList:
		return s.items(b[1:], uint64(n), false)
	case f == formMap:
		return s.items(b[1:], 2*uint64(n), true)
	case f == formLong:
	case n > len(b):
		return nil, malformed(msgp.ErrShortBytes)
	case f == formText && !utf8.Valid(b[1:n]):
		return nil, errNotUTF8()
	default:
		return b[n:], nil
	}
	switch msgp.NextType(b) {
	case msgp.ArrayType:
		n, rest, err := msgp.ReadArrayHeaderBytes(b)
		if err != nil {
			return nil, malformed(err)
		}
		return s.items(rest, uint64(n), false)
	case msgp.MapType:
		n, rest, err := msgp.ReadMapHeaderBytes(b)
		if err != nil {
			return nil, malformed(err)
		}
		return s.items(rest, 2*uint64(n), true)
	case msgp.StrType:
		text, rest, err := msgp.ReadStringZC(b)
		if err != nil {
			return nil, malformed(err)
		}
		if !utf8.Valid(text) {
			return nil, errNotUTF8()
		}
		return rest, nil
	default:
		rest, err := msgp.Skip(b)
		if err != nil {
			return nil, malformed(err)
		}
		return rest, nil
	}
}

// items checks the n values of a container. In a map every other one is a key,
// which cannot be a container itself.
func (s *scanner) items(b []byte, n uint64, keyed bool) ([]byte, error) {
	if n > uint64(len(b)) {
		return nil, violation(Malformed, "%d elements in %d bytes", n, len(b))
	}
	if n > uint64(s.elements) {
		return nil, violation(TooMany, "%d in one container", n)
	}
	if s.depth--; s.depth < 0 {
		return nil, violation(TooDeep, "")
	}
	var err error
	for i := range n {
		if keyed && i%2 == 0 && !hashable(b) {
			return nil, violation(Malformed, "a map key is a container")
		}
		if b, err = s.value(b); err != nil {
			return nil, err
		}
	}
	s.depth++
	return b, nil
}

// scalarSize returns the size of a value at the start of b whose first byte says it: one that is no text, binary, extension or
// container. It is 0 for any other. Most values are such, and the library takes longer to find that out.
func scalarSize(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch lead := b[0]; {
	case lead < 0x80, lead >= 0xe0, lead == 0xc0, lead == 0xc2, lead == 0xc3: // small integers, nil, booleans
		return 1
	case lead == 0xcc, lead == 0xd0: // integers of 8 bits
		return 2
	case lead == 0xcd, lead == 0xd1: // of 16
		return 3
	case lead == 0xce, lead == 0xd2, lead == 0xca: // of 32, and a float
		return 5
	case lead == 0xcf, lead == 0xd3, lead == 0xcb: // of 64
		return 9
	default:
		return 0
	}
}

// hashable reports whether the value at the start of b can be a key.
func hashable(b []byte) bool {
	t := msgp.NextType(b)
	return t != msgp.ArrayType && t != msgp.MapType
}

// form is a way in which short values are packed.
type form uint8

const (
	formLong   form = iota // none of the others
	formScalar             // neither text, binary, extension nor container
	formText
	formBinary
	formList
	formMap
)

// shortForm tells most values by their first bytes. n is the size of the value, or of a container how many items or pairs it has, which
// follow its first byte. What it says of a long form the library knows.
func shortForm(b []byte) (f form, n int) {
	if n = scalarSize(b); n > 0 {
		return formScalar, n
	}
	if len(b) == 0 {
		return formLong, 0
	}
	switch lead := b[0]; {
	case lead&0xf0 == 0x80:
		return formMap, int(lead & 0x0f)
	case lead&0xf0 == 0x90:
		return formList, int(lead & 0x0f)
	case lead&0xe0 == 0xa0:
		return formText, 1 + int(lead&0x1f)
	case lead == 0xc4 && len(b) > 1:
		return formBinary, 2 + int(b[1])
	default:
		return formLong, 0
	}
}

func errNotUTF8() error { return violation(Malformed, "text is not UTF-8") }

func malformed(err error) error { return violation(Malformed, "%v", err) }
