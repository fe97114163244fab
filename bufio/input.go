package bufio

import (
	"io"
	"iter"
	"sync/atomic"
)

// Input is the reading end of a byte stream, buffered. One goroutine at a time reads from it; Interrupt, Resume
// and Close may be called from any.
//
// What is buffered is given also while the Input is interrupted or closed: only a call that has to go to the
// stream returns ErrInterrupted or ErrClosed. A call that fails takes nothing, unless its comment says otherwise.
// The end of the stream and its errors stay, but for deadlines that pass.
//
// The buffer takes 4 KiB at first, grows to 64 KiB while reads fill it, and is given back whenever the Input has
// nothing buffered and waits on a descriptor.
type Input struct {
	// What each read needs comes first, since among many streams none of it is in a cache.

	org  origin
	buf  []byte // buf[r:w] is buffered
	r, w int
	off  int64

	got    int64      // bytes that came from the stream
	need   int        // how many bytes a read is to make buffered in all
	size   int        // of the next buffer
	before func() int // called before it waits
	looks  func(bool) // called when it is settled whether it looks again
	reads  atomic.Uint64
	err    error // what the stream ended with, given when the buffer is empty
	eager  eagerness
	pooled bool // buf is from the pool, and may be written to
	filled bool // the last read into the buffer filled it

	beyond int32 // how many more bytes have room behind into, for what is behind the first gap of these, if it can
	gap    int32
	into   []byte // where a read that goes past the buffer puts its bytes
	over   []byte // the part of buf where it puts those behind them, if it can
}

// NewInput returns an Input that reads from r, which stays its owner's: Close does not close it.
//
// An *os.File in the runtime's poller, a net.Conn, and anything else whose SetReadDeadline works, is read by
// the calling goroutine, and Interrupt works by a deadline, which Resume clears. A regular file is simply
// read. Any other reader is read by a goroutine of the Input's own, one Read at a time, only while somebody
// wants bytes; it ends when its Read does. An *Input is returned as it is.
//
// To find out about deadlines it clears the one that r may have.
func NewInput(r io.Reader) *Input {
	if in, ok := r.(*Input); ok && in != nil {
		return in
	}
	return newInput(newOrigin(r, nil))
}

// OwnInput is NewInput for a stream that Close is to close.
func OwnInput(r io.ReadCloser) *Input { return newInput(newOrigin(r, r)) }

// NewInputBehind is NewInput for a stream of which the bytes in ahead were read already: the Input gives those first. It keeps
// ahead.
func NewInputBehind(ahead []byte, r io.Reader) *Input {
	in := newInput(newOrigin(r, nil))
	in.buf, in.w = ahead, len(ahead)
	return in
}

// InputBytes returns an Input that gives b and then io.EOF. The caller must not change b meanwhile.
func InputBytes(b []byte) *Input {
	in := newInput(never{io.EOF})
	in.buf, in.w = b, len(b)
	return in
}

// InputChunks returns an Input that gives the chunks of seq one behind another, then io.EOF. Each chunk is copied
// before the next is asked for. The iterator runs on a goroutine of the Input's own, and only while somebody
// wants bytes; who does not read to the end calls Close, which stops it.
func InputChunks(seq iter.Seq[[]byte]) *Input { return newInput(newChunkPump(seq)) }

func newInput(o origin) *Input { return &Input{org: o, size: bufferSmall} }

// Mode says how the stream is read, for logs: see the package's comment.
func (in *Input) Mode() string { return in.org.mode() }

// NonBlocking reports whether TryRead and TryPeek can ask the stream, and Interrupt ends a call that waits. If not, only what is
// buffered is there for them. It may be called from any goroutine.
func (in *Input) NonBlocking() bool { return in.org.nonBlocking() }

// Offset returns how many bytes have been taken so far.
func (in *Input) Offset() int64 { return in.off }

// Reads returns how often bytes have come. Unlike the other methods it may be called at any time, for who looks
// whether anything still comes.
func (in *Input) Reads() uint64 { return in.reads.Load() }

// Buffered returns how many bytes can be taken without reading.
func (in *Input) Buffered() int { return in.w - in.r }

// BeforeWait has f called whenever a call is about to wait for the stream, or may be about to, by the goroutine that
// made the call. f returns 0, or, if bytes are expected at once, a number that is the greater the more are under way:
// then, if it has paid lately, a descriptor is looked at some more times before anybody sleeps, and other goroutines
// run meanwhile, for the longer the greater the number is. f must not use the Input but for BesideBulk, and must not
// wait. BeforeWait is for who reads, as the other methods are; nil ends it.
func (in *Input) BeforeWait(f func() (pace int)) { in.before = f }

// BeforeLook has f called during such a wait whenever a look has found nothing, or is about to be left out since what is awaited
// comes later, and it is settled what comes next: other goroutines run and then there is another look, if again is true, or
// nothing is done until bytes come. It is first called behind BeforeWait's function, and where nothing is looked at it is
// called with false or not at all. What goes for that function goes for f.
func (in *Input) BeforeLook(f func(again bool)) { in.looks = f }

// BesideBulk says whether bulk is on its way besides what is waited for, in whichever direction: then everything takes longer,
// and what is found late by looking again, see BeforeWait, has paid as well. What did not pay before it began is forgotten.
// It is for who reads, also in BeforeWait's function.
func (in *Input) BesideBulk(on bool) { in.eager.besideBulk(on) }

// Peek returns all that is buffered, without taking it, and reads first if that is less than n bytes. At the end
// of the stream it returns fewer, and io.EOF; with any other error too it returns what there is. The slice is
// valid until the next call, and must not be changed, but for bytes that the next call takes away, and not those of
// InputBytes. More than MaxPeek is ErrTooLong, unless it is buffered.
func (in *Input) Peek(n int) ([]byte, error) { return in.peek(n, true) }

// TryPeek is Peek without waiting: with less than n bytes there it returns what there is and ErrWouldBlock. Where the
// stream cannot be asked, only what is buffered is there.
func (in *Input) TryPeek(n int) ([]byte, error) { return in.peek(n, false) }

func (in *Input) peek(n int, wait bool) ([]byte, error) {
	var err error
	switch {
	case n < 0:
		err = ErrCount
	case n > MaxPeek && n > in.Buffered():
		err = ErrTooLong
	}
	for err == nil && in.Buffered() < n {
		if err = in.fill(n, wait); err == nil {
			in.eager.bulk = false
		}
	}
	return in.buf[in.r:in.w:in.w], err
}

// Take takes n bytes and returns them in memory of their own. If the stream ends first the error is
// io.ErrUnexpectedEOF. More than MaxTake is ErrTooLong.
func (in *Input) Take(n int) ([]byte, error) {
	switch {
	case n < 0:
		return nil, ErrCount
	case int64(n) > MaxTake:
		return nil, ErrTooLong
	}
	p := make([]byte, min(n, max(takeAtOnce, in.Buffered())))
	got, err := in.readInto(p)
	for err == nil && got < n {
		p = append(p, make([]byte, min(n-got, got))...)
		var m int
		m, err = in.readInto(p[got:])
		got += m
	}
	if err != nil {
		in.adopt(p[:got])
		return nil, unexpected(err)
	}
	in.off += int64(n)
	return p, nil
}

// ReadFull takes len(p) bytes into p: what is buffered first, the rest straight from the stream. If that
// ends first the error is io.ErrUnexpectedEOF. After an error p holds bytes that were not taken.
func (in *Input) ReadFull(p []byte) error {
	got, err := in.readInto(p)
	if err != nil {
		in.adopt(append([]byte(nil), p[:got]...))
		return unexpected(err)
	}
	in.off += int64(got)
	return nil
}

// Read takes up to len(p) bytes, what is buffered first, and reads at most once. It makes an Input an io.Reader.
func (in *Input) Read(p []byte) (int, error) { return in.readSome(p, true) }

// TryRead is Read without waiting: with nothing there it returns ErrWouldBlock. Where the stream cannot be
// asked, only what is buffered is there.
func (in *Input) TryRead(p []byte) (int, error) { return in.readSome(p, false) }

func (in *Input) readSome(p []byte, wait bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if in.Buffered() == 0 {
		var n int
		var err error
		if len(p) >= in.size {
			n, err = in.direct(p, wait)
		} else {
			err = in.fill(1, wait)
		}
		if n > 0 || err != nil {
			in.off += int64(n)
			return n, err
		}
	}
	n := in.drain(p)
	in.off += int64(n)
	return n, nil
}

// Skip takes n bytes away; in a regular file it seeks. If the stream ends first the error is
// io.ErrUnexpectedEOF. After an error what was passed is gone: Offset tells how much.
func (in *Input) Skip(n int64) error {
	if n < 0 {
		return ErrCount
	}
	for {
		k := min(n, int64(in.Buffered()))
		in.r += int(k)
		in.off += k
		n -= k
		if n == 0 {
			return nil
		}
		if n > MaxPeek && in.err == nil && in.org.skip(n) {
			in.off += n
			return nil
		}
		if err := in.fill(1, true); err != nil {
			return unexpected(err)
		}
	}
}

// Rest takes all bytes up to the end of the stream. If there are more than max the error is ErrTooLong, and
// what was read of them is buffered.
func (in *Input) Rest(max int) ([]byte, error) {
	if max < 0 {
		return nil, ErrCount
	}
	var all []byte
	for {
		all = append(all, in.buf[in.r:in.w]...)
		in.r = in.w
		if len(all) > max {
			in.adopt(all)
			return nil, ErrTooLong
		}
		err := in.fill(1, true)
		if err == io.EOF {
			in.off += int64(len(all))
			return all, nil
		}
		if err != nil {
			in.adopt(all)
			return nil, err
		}
	}
}

// Interrupt makes a blocked call, and every later one that has to read, return ErrInterrupted, until Resume.
// It may be called from any goroutine, and does not wait.
func (in *Input) Interrupt() { in.org.interrupt() }

// Resume undoes Interrupt, so that the next connection on the Input goes on where the last one stopped. It clears a
// read deadline of what was passed in. It may be called from any goroutine.
func (in *Input) Resume() { in.org.resume() }

// Close closes what the Input itself opened, or what OwnInput was given, and makes a blocked call and every
// later one that has to read return ErrClosed. What was passed to NewInput stays open. It may be called from any
// goroutine; the second call does nothing and returns nil.
func (in *Input) Close() error { return in.org.close() }

// fill reads once into the buffer, which is to have room for need bytes in all. Without an error there is
// at least one byte more.
func (in *Input) fill(need int, wait bool) error {
	if in.filled && in.size < MaxPeek {
		in.size *= 4
	}
	in.need = need
	n, err := in.readOrigin(wait)
	if n == 0 {
		return err
	}
	in.w += n
	in.filled = in.w == len(in.buf)
	if n < bufferSmall {
		in.size = bufferSmall
	}
	return nil
}

// direct reads once straight into p, and what comes behind it into the buffer, in which nothing is. Large payloads need a
// small buffer for what is between them only, and get that with their own last bytes.
func (in *Input) direct(p []byte, wait bool) (int, error) {
	in.filled, in.size = false, bufferSmall
	in.into = p[:min(len(p), maxRead)]
	n, err := in.readOrigin(wait)
	if more := n - len(in.into); more > 0 {
		in.w = more
		n = len(in.into)
	}
	in.into, in.over = nil, nil
	in.eager.bulk = true
	return n, err
}

// readOrigin returns either at least one byte or an error.
func (in *Input) readOrigin(wait bool) (int, error) {
	for range maxEmpty {
		if in.err != nil {
			return 0, in.err
		}
		n, err := in.org.read(in, wait)
		if n < 0 || n > len(in.room())+len(in.over)+int(in.beyond) {
			n, err = 0, ErrBadCount
		}
		if err != nil {
			err = in.keep(peerError(err))
		}
		if n > 0 {
			in.reads.Add(1)
			in.got += int64(n)
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// keep remembers an error after which nothing more can come.
func (in *Input) keep(err error) error {
	switch {
	case err == ErrInterrupted, err == ErrClosed, err == ErrWouldBlock, isTimeout(err):
	default:
		in.err = err
	}
	return err
}

// readInto fills p, and leaves nothing buffered if it cannot.
func (in *Input) readInto(p []byte) (int, error) {
	got := in.drain(p)
	for got < len(p) {
		if rest := p[got:]; len(rest) >= in.size {
			n, err := in.direct(rest, true)
			got += n
			if err != nil {
				return got, err
			}
			continue
		}
		if err := in.fill(1, true); err != nil {
			return got, err
		}
		got += in.drain(p[got:])
	}
	return got, nil
}

// drain copies out of the buffer, without counting.
func (in *Input) drain(p []byte) int {
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n
}

// adopt makes p, which was taken and is to come back, the buffer. Nothing is buffered when it is called.
func (in *Input) adopt(p []byte) {
	if len(p) == 0 {
		return
	}
	in.release()
	in.buf, in.r, in.w = p, 0, len(p)
}

// release gives the buffer back.
func (in *Input) release() {
	if in.pooled {
		putBuffer(in.buf)
	}
	in.buf, in.r, in.w, in.pooled = nil, 0, 0, false
}

// space is called by an origin that is about to read, and returns where to.
func (in *Input) space() []byte {
	if in.into != nil {
		return in.into
	}
	held := in.Buffered()
	switch {
	case held == 0 && in.pooled && len(in.buf) == in.size && in.need <= in.size:
		in.r, in.w = 0, 0
	case held > 0 && in.pooled && in.w < len(in.buf) && in.r+in.need <= len(in.buf):
	default:
		in.move(held)
	}
	return in.buf[in.w:]
}

// behind is called by an origin that is about to read to two places at once, and returns where what comes behind
// space's bytes goes, or nil if those go to the buffer themselves.
func (in *Input) behind() []byte {
	if in.into == nil {
		return nil
	}
	if !in.pooled {
		in.release()
		in.buf, in.pooled = getBuffer(bufferSmall), true
	}
	in.r, in.w = 0, 0
	in.over = in.buf[:bufferSmall]
	return in.over
}

// move puts what is buffered at the start of a buffer that has room for it and for need.
func (in *Input) move(held int) {
	size := max(in.size, in.need, held+1)
	if in.pooled && size <= len(in.buf) && held > 0 {
		copy(in.buf, in.buf[in.r:in.w])
		in.r, in.w = 0, held
		return
	}
	b := getBuffer(size)
	copy(b, in.buf[in.r:in.w])
	in.release()
	in.buf, in.w, in.pooled = b, held, true
}

// room is what space gave, if it was called.
func (in *Input) room() []byte {
	if in.into != nil {
		return in.into
	}
	return in.buf[in.w:]
}

// idle is called by an origin that is about to wait: an empty buffer is of more use elsewhere meanwhile.
func (in *Input) idle() {
	if in.Buffered() == 0 {
		in.release()
		in.over = nil
	}
}

// waits is called by an origin that may be about to wait, before it does, with no lock held. It returns what
// BeforeWait's function does.
func (in *Input) waits() (pace int) {
	if in.before == nil {
		return 0
	}
	return in.before()
}

// looksNext is called by an origin that looks again or goes to sleep, with no lock held.
func (in *Input) looksNext(again bool) {
	if in.looks != nil {
		in.looks(again)
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
