package eventstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Decoder reads messages one after another from a byte stream, which may deliver them in pieces of
// any size. It takes memory as bytes arrive, not as lengths promise. It is not safe for concurrent use.
type Decoder struct {
	r     io.Reader
	buf   []byte
	start int // the first byte not yet decoded
	end   int // behind the last byte read
	limit int
	err   error

	scratch Headers // reused by decodeOwned
}

// NewDecoder returns a decoder that reads from r. It may read beyond the message it decodes.
func NewDecoder(r io.Reader) *Decoder {
	return newDecoder(r, MaxMessageLen)
}

func newDecoder(r io.Reader, limit int) *Decoder {
	return &Decoder{r: r, limit: limit}
}

// Decode reads the next message into f, whose slice of headers it reuses. f.Payload is valid until the
// next call; the headers stay. It blocks as long as the reader does.
//
// The error is io.EOF at the end of the stream between two messages, a *FrameError for a bad message,
// with ErrTruncated for one that the stream cut off, io.ErrNoProgress if the reader has returned nothing at all
// a hundred times in a row, and else the reader's. Every error is final
// but one: after a bad header (ErrHeader, ErrHeaderType, ErrTooManyHeaders) the message is skipped
// and the next call goes on behind it.
func (d *Decoder) Decode(f *Frame) error {
	b, err := d.next()
	if err != nil {
		return err
	}
	return d.parse(b, f)
}

// decodeOwned is Decode for who keeps headers and payload: they are in memory of their own. It also
// returns how many bytes they hold, about.
func (d *Decoder) decodeOwned() (f Frame, size int, err error) {
	b, err := d.next()
	if err != nil {
		return Frame{}, 0, err
	}
	f.Headers = d.scratch
	if err := d.parse(b, &f); err != nil {
		return Frame{}, 0, err
	}
	d.scratch = f.Headers
	f.Headers = append(make(Headers, 0, len(f.Headers)), f.Headers...)
	clear(d.scratch) // or it would hold the text of the headers until the next message
	size = len(b) + headerOverhead*len(f.Headers)
	if len(b) >= ownBufferLen && d.start == d.end {
		d.buf, d.start, d.end = nil, 0, 0
		return f, size, nil
	}
	f.Payload = append([]byte(nil), f.Payload...)
	return f, size, nil
}

func (d *Decoder) parse(b []byte, f *Frame) error {
	err := parseBody(b, f)
	if err != nil && !isHeaderError(err) {
		d.err = err
	}
	return err
}

// isHeaderError tells a message with a bad header from bytes that are no message.
func isHeaderError(err error) bool {
	return errors.Is(err, ErrHeader) || errors.Is(err, ErrHeaderType) || errors.Is(err, ErrTooManyHeaders)
}

// Buffered returns how many bytes were read and not decoded yet.
func (d *Decoder) Buffered() int { return d.end - d.start }

// hasWhole reports whether the next message needs no reading.
func (d *Decoder) hasWhole() bool {
	n := d.end - d.start
	return n >= preludeLen && uint32(n) >= binary.BigEndian.Uint32(d.buf[d.start:])
}

// next returns the bytes of the next whole message.
func (d *Decoder) next() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	total := 0
	err := d.fill(preludeLen)
	if err == nil {
		total, err = parsePrelude(d.buf[d.start:d.end], d.limit)
	}
	if err == nil {
		err = d.fill(total)
	}
	if err != nil {
		d.err = err
		return nil, err
	}
	b := d.buf[d.start : d.start+total]
	d.start += total
	return b, nil
}

// fill reads until n bytes are there.
func (d *Decoder) fill(n int) error {
	for empty := 0; d.end-d.start < n; {
		d.makeRoom(n)
		got, err := d.r.Read(d.buf[d.end:])
		d.end += got
		if got > 0 {
			empty = 0
		} else if empty++; err == nil && empty == maxEmptyReads {
			return io.ErrNoProgress
		}
		if err == nil || d.end-d.start >= n {
			continue
		}
		if err == io.EOF && d.end > d.start {
			return &FrameError{Err: ErrTruncated, Header: -1,
				detail: fmt.Sprintf("the stream ends after %d of at least %d bytes", d.end-d.start, n)}
		}
		return err
	}
	return nil
}

// resume makes an error of the reader not final that said only that a deadline has passed.
func (d *Decoder) resume() {
	if isTimeout(d.err) {
		d.err = nil
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// makeRoom makes the buffer able to take at least one more byte of the n that are wanted from d.start
// on. Past firstGrowLen it grows by doubling while bytes come in, so that a promise alone costs little.
func (d *Decoder) makeRoom(n int) {
	held := d.end - d.start
	if held == 0 {
		d.start, d.end = 0, 0
		if len(d.buf) > keepBufferLen && n <= keepBufferLen {
			d.buf = nil
		}
	}
	switch {
	case d.end < len(d.buf) && (d.start == 0 || len(d.buf)-d.start >= n):
		return
	case d.start > 0 && (n <= len(d.buf) || held < len(d.buf)/2):
		copy(d.buf, d.buf[d.start:d.end])
	default:
		grown := make([]byte, max(readBufferLen, min(n, max(firstGrowLen, 2*len(d.buf)))))
		copy(grown, d.buf[d.start:d.end])
		d.buf = grown
	}
	d.start, d.end = 0, held
}
