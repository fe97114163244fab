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

// lead is what the first byte of a value says. Most values are short, and the library takes longer to find that out.
type lead struct {
	form form
	n    uint8 // as shortForm returns it
}

// leads is by first bytes. It does not change.
var leads = func() (table [256]lead) {
	for b := range table {
		switch {
		case b < 0x80, b >= 0xe0, b == 0xc0, b == 0xc2, b == 0xc3: // small integers, nil, booleans
			table[b] = lead{formScalar, 1}
		case b == 0xcc, b == 0xd0: // integers of 8 bits
			table[b] = lead{formScalar, 2}
		case b == 0xcd, b == 0xd1: // of 16
			table[b] = lead{formScalar, 3}
		case b == 0xce, b == 0xd2, b == 0xca: // of 32, and a float
			table[b] = lead{formScalar, 5}
		case b == 0xcf, b == 0xd3, b == 0xcb: // of 64
			table[b] = lead{formScalar, 9}
		case b < 0x90:
			table[b] = lead{formMap, uint8(b & 0x0f)}
		case b < 0xa0:
			table[b] = lead{formList, uint8(b & 0x0f)}
		case b < 0xc0:
			table[b] = lead{formText, uint8(1 + b&0x1f)}
		case b == 0xc4:
			table[b] = lead{formBinary, 2} // and what the second byte says
		}
	}
	return table
}()

// shortForm tells most values by their first bytes. n is the size of the value, or of a container how many items or pairs it has, which
// follow its first byte. What it says of a long form the library knows.
func shortForm(b []byte) (f form, n int) {
	if len(b) < 2 {
		return shortestForm(b)
	}
	l := leads[b[0]]
	n = int(l.n)
	if l.form == formBinary {
		n += int(b[1])
	}
	return l.form, n
}

// shortestForm is shortForm for at most one byte.
func shortestForm(b []byte) (f form, n int) {
	if len(b) == 0 || leads[b[0]].form == formBinary {
		return formLong, 0
	}
	return leads[b[0]].form, int(leads[b[0]].n)
}

func errNotUTF8() error { return violation(Malformed, "text is not UTF-8") }

func malformed(err error) error { return violation(Malformed, "%v", err) }
