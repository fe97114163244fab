package mushroom

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// StreamOptions are the settings of NewStream. The zero value works.
type StreamOptions struct {
	// Dispatcher is what this end offers; nil offers nothing.
	Dispatcher Dispatcher
	// RequestTimeout bounds every Request; 0 leaves that to the caller's context.
	RequestTimeout time.Duration
	// Limits bounds what the peer can make this end hold.
	Limits Limits
	// Log hears of handlers that fail; nil is silence.
	Log *slog.Logger
}

// NewStream begins a session over a byte stream: one message a line, both ways, with the rules of the
// websocket transport. Both ends are alike. It takes rw over and closes it at the session's end; Close
// of rw must end a Read and a Write that wait. The session ends with the stream, and where the peer takes
// nothing of what is written for 30 seconds. Where the peer ends its side between two lines, requests that wait
// for its answers fail at once, and those that it has made are answered, for at most 5 seconds.
func NewStream(rw io.ReadWriteCloser, opts *StreamOptions) (*Session, error) {
	if opts == nil {
		opts = &StreamOptions{}
	}
	settings, err := newSettings(opts.Dispatcher, opts.Log, opts.RequestTimeout, opts.Limits)
	if err != nil {
		return nil, err
	}
	s := newSession(settings, "", TransportStream, goodbyeWritten)
	c := &lines{rw: rw, in: bufio.NewReader(rw), limit: settings.limits.MaxMessage, timeout: settings.times.write}
	s.attach(c)
	// This goroutine receives and then finishes the session. Close, or the stream's end, stops it; Done
	// tells.
	go func() {
		s.receive(c)
		s.finish()
	}()
	return s, nil
}

// lines is the carrier of a stream.
type lines struct {
	rw      io.ReadWriteCloser
	in      *bufio.Reader
	limit   int
	timeout time.Duration // of one write
	once    sync.Once
}

func (l *lines) read() ([]byte, error) {
	for {
		line, err := l.readLine()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

// readLine reads up to the next newline. A last line without one was cut off.
func (l *lines) readLine() (line []byte, err error) {
	for {
		piece, err := l.in.ReadSlice('\n')
		if len(line)+len(piece) > l.limit+1 {
			return nil, tooLarge("line longer than %d bytes", l.limit)
		}
		line = append(line, piece...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, fmt.Errorf("%w inside a line", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return nil, errHalfClosed
		default:
			return nil, err
		}
	}
}

func (l *lines) write(frames [][]byte) error {
	var text []byte
	for _, frame := range frames {
		text = append(append(text, frame...), '\n')
	}
	d, ok := l.rw.(interface{ SetWriteDeadline(time.Time) error })
	if ok && d.SetWriteDeadline(time.Now().Add(l.timeout)) == nil {
		_, err := l.rw.Write(text)
		return err
	}
	// A stream without deadlines is closed instead.
	timer := time.AfterFunc(l.timeout, l.abort)
	_, err := l.rw.Write(text)
	if !timer.Stop() && err != nil {
		err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	return err
}

func (l *lines) close() { l.abort() }

// abort may be called while close runs; the stream is closed once.
func (l *lines) abort() { l.once.Do(func() { _ = l.rw.Close() }) }
