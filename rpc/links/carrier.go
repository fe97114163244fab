package links

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/packetstream/packetstream/bufio"
)

// Carrier moves frames between the two ends of a [Conn]: one packet each where it has packets.
type Carrier interface {
	// ReadFrame returns the next frame, valid until the next call, and an error once there is none; io.EOF is the clean end.
	ReadFrame() ([]byte, error)
	// WriteFrames writes the frames of a batch in order: each has its length before it, and NextFrame takes them apart. A carrier with
	// packets may deliver them in any order if the connection was told so. The batch is the caller's again when the call returns.
	WriteFrames(batch []byte) error
	// Close ends both directions and wakes a call that waits in either. It is called once.
	Close() error
}

// NextFrame returns the first frame of a batch and what follows it.
func NextFrame(batch []byte) (frame, rest []byte) {
	size, n := binary.Uvarint(batch)
	if n <= 0 || size > uint64(len(batch)-n) {
		return nil, nil
	}
	return batch[n : n+int(size)], batch[n+int(size):]
}

// Duplex makes one stream of the two pipes of a process: it reads from r, writes to w, and closes both.
func Duplex(r io.ReadCloser, w io.WriteCloser) io.ReadWriteCloser { return duplex{r, w} }

type duplex struct {
	io.Reader
	io.Writer
}

// Close closes the writing side first, so that the peer reads its end whatever becomes of the other.
func (d duplex) Close() error {
	return errors.Join(d.Writer.(io.Closer).Close(), d.Reader.(io.Closer).Close())
}

// StreamCarrier carries frames over a byte stream, such as a net.Conn, or the pipes of a process by [Duplex]. Each frame has its length
// before it as a uvarint. A Read that waits must return when rw is closed.
func StreamCarrier(rw io.ReadWriteCloser) Carrier {
	s := &stream{rw: rw, limit: hardMaxFrame}
	var writer io.Writer = rw
	if pair, ok := rw.(duplex); ok {
		writer = pair.Writer
	}
	if out := bufio.NewOutput(writer); out.NonBlocking() {
		s.out = out
	}
	return s
}

// stream is used by one reader and one writer.
type stream struct {
	rw io.ReadWriteCloser
	// out can write without waiting; it is nil where that cannot be.
	out      *bufio.Output
	unsent   unsent
	enlarged bool
	limit    uint64
	buf      []byte
	start    int // of what was read and not taken
	end      int
	begun    bool
	// filled says that the last read filled the buffer, so that there is likely to be more.
	filled bool
}

func (s *stream) WriteFrames(batch []byte) error {
	if s.out == nil {
		_, err := s.rw.Write(batch)
		return err
	}
	if !s.enlarged && len(batch) >= bulkBatch {
		s.enlarged = true
		s.out.Enlarge()
	}
	s.unsent = batch
	return s.out.Write(&s.unsent, true)
}

// writeNow writes what the descriptor takes without waiting, and says how much that was.
func (s *stream) writeNow(batch []byte) (int, error) {
	s.unsent = batch
	err := s.out.Write(&s.unsent, false)
	if errors.Is(err, bufio.ErrWouldBlock) {
		err = nil
	}
	return len(batch) - len(s.unsent), err
}

// unsent is the rest of a batch as the source of an output.
type unsent []byte

func (u *unsent) Next(bufs [][]byte) [][]byte { return append(bufs, *u) }
func (u *unsent) Wrote(n int)                 { *u = (*u)[n:] }

func (s *stream) Close() error {
	if s.out == nil {
		return s.rw.Close()
	}
	return errors.Join(s.out.Close(), s.rw.Close())
}

// ReadFrame shows what it read in the error if that cannot be a frame, because then it is most often something that a program printed.
func (s *stream) ReadFrame() ([]byte, error) {
	for {
		if !s.begun {
			if err := s.checkBeginning(); err != nil {
				return nil, err
			}
		}
		size, n := binary.Uvarint(s.buf[s.start:s.end])
		if n < 0 || n > 0 && size > s.limit {
			return nil, &ProtocolError{Detail: "frame length out of range", Seen: shown(s.buf[s.start:s.end])}
		}
		if n > 0 && uint64(s.end-s.start-n) >= size {
			frame := s.buf[s.start+n : s.start+n+int(size)]
			s.start += n + int(size)
			s.begun = true
			return frame, nil
		}
		if err := s.fill(n + int(size)); err != nil {
			return nil, err
		}
	}
}

// checkBeginning looks at what came so far of the first frame, so that a stray line is noticed before the rest of a frame is waited for.
func (s *stream) checkBeginning() error {
	want := string(frameHello) + magic
	seen := s.buf[s.start:s.end]
	for i := range want {
		if len(seen) > i+1 && seen[i+1] != want[i] {
			return notOurs(seen)
		}
	}
	return nil
}

func notOurs(seen []byte) error {
	return &ProtocolError{Detail: "the peer does not speak this protocol, or something else writes to its output", Seen: shown(seen)}
}

// fill reads more, and makes room for the frame that is awaited. The buffer grows with what really comes, never at once to what is claimed.
func (s *stream) fill(awaited int) error {
	if s.start == s.end {
		s.start, s.end = 0, 0
	}
	if s.end == len(s.buf) && s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, s.end-s.start
	}
	if s.end == len(s.buf) || s.filled && len(s.buf) < maxReadBuffer {
		grown := make([]byte, max(readBuffer, 2*len(s.buf)))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	n, err := s.rw.Read(s.buf[s.end:])
	s.end += n
	s.filled = s.end == len(s.buf)
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, io.EOF) && s.end > s.start:
		if !s.begun {
			return notOurs(s.buf[s.start:s.end])
		}
		return fmt.Errorf("%w in a frame of %d bytes", io.ErrUnexpectedEOF, awaited)
	default:
		return err
	}
}
