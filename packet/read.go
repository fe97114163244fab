package packet

import (
	"errors"
	"io"
	"math"
)

// Source is a buffered input, as bufio.Input is.
type Source interface {
	// Peek returns what is buffered, at least n bytes of it, without taking it. With fewer than
	// n bytes before the end of the stream it returns those and io.EOF.
	Peek(n int) ([]byte, error)
	// Skip takes n bytes away. With fewer before the end it returns io.ErrUnexpectedEOF.
	Skip(n int64) error
	// Take takes n bytes away and returns them in memory of their own. With fewer before the end
	// it returns io.ErrUnexpectedEOF.
	Take(n int) ([]byte, error)
}

// ReadHeader reads one header and leaves src at the payload. A header is parsed as it comes: no byte
// behind it is waited for.
//
// The error is io.EOF if the stream ends before the first byte, io.ErrUnexpectedEOF if it ends
// inside the header, a *FormatError, or what src returned. After an error the bytes of the bad header
// are still in src and can be peeked at.
func ReadHeader(src Source) (h Header, err error) {
	err = h.Read(src)
	return h, err
}

// Read is ReadHeader into memory of the caller's, for who reads many.
func (h *Header) Read(src Source) error {
	*h = Header{}
	want := 1
	for {
		b, err := src.Peek(want)
		if len(b) >= want {
			n, perr := h.Parse(b)
			if perr == nil {
				return src.Skip(int64(n))
			}
			if perr != ErrShort {
				return perr
			}
			want = len(b) + 1
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Read reads one packet whose payload has at most max bytes. A larger one is skipped, and the error
// is a *TooLargeError, after which the next packet can be read. The other errors are those of
// ReadHeader.
func Read(src Source, max int64) (Packet, error) {
	h, err := ReadHeader(src)
	if err != nil {
		return Packet{}, err
	}
	if h.Size > min(max, math.MaxInt) {
		if err := src.Skip(h.Size); err != nil {
			return Packet{}, err
		}
		return h.packet(nil), &TooLargeError{Size: h.Size, Max: max}
	}
	payload, err := src.Take(int(h.Size))
	if err != nil {
		return Packet{}, err
	}
	return h.packet(payload), nil
}
