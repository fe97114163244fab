package packet

import (
	"errors"
	"fmt"
)

var (
	// ErrShort says that the bytes at hand end before the packet does. More bytes may mend it.
	ErrShort = errors.New("packet: incomplete")

	// ErrOverflow says that a number on the wire does not fit in 64 bits.
	ErrOverflow = errors.New("number larger than 64 bits")

	// ErrOverlong says that a number on the wire takes more than MaxNumber octets.
	ErrOverlong = errors.New("number of more than 256 octets")

	// ErrFields says that a packet is too short for its own fields, a length of 0 included.
	ErrFields = errors.New("packet too short for its own fields")

	// ErrLength says that a packet claims a payload of more than MaxPayload bytes.
	ErrLength = errors.New("payload of more than 2 GiB")

	// ErrFlags says that a packet to be sent has flags beyond MaxFlags.
	ErrFlags = errors.New("packet: flags do not fit in 62 bits")

	// ErrPayload says that a packet to be sent has a payload of more than MaxPayload bytes.
	ErrPayload = errors.New("packet: payload of more than 2 GiB")
)

// FormatError says that bytes are not a packet, and never will be, whatever follows them.
type FormatError struct {
	// Field names the part of the packet that is bad: length, tag, flags, channel or type.
	Field string
	// Err is ErrOverflow, ErrOverlong, ErrFields or ErrLength.
	Err error
}

func (e *FormatError) Error() string { return fmt.Sprintf("packet: bad %s: %v", e.Field, e.Err) }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// TooLargeError says that a packet was skipped because its payload exceeds the reader's maximum.
// The stream is good: the next packet can be read.
type TooLargeError struct {
	// Size is the payload's length and Max what the reader would take, both in bytes.
	Size, Max int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("packet: payload of %d bytes is larger than the maximum of %d", e.Size, e.Max)
}
