package bufio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/djherbis/buffer"
	"github.com/djherbis/buffer/wrapio"
)

// BacklogOptions are the limits of a Backlog. The zero value is useful.
type BacklogOptions struct {
	// Memory is how many bytes are held in memory. 0 is DefaultBacklogMemory, a negative number is none.
	Memory int64
	// Disk is how many bytes more are held on disk. 0 is DefaultBacklogDisk, a negative number is none.
	Disk int64
	// Dir is the directory for the file, which has no name there; "" is os.TempDir. The file is made when it is
	// first needed.
	Dir string
}

// Backlog holds bytes, first in first out, in memory up to one limit and then on disk up to a second. All methods
// may be called from any goroutine.
type Backlog struct {
	memoryMax, diskMax int64
	dir                string

	// mu guards what follows, the reading and writing of the file included, since the buffers are not
	// safe for concurrent use and their order is the order of the bytes. Nothing else is locked under it.
	mu     sync.Mutex
	wake   sync.Cond // there is something to read, or there will be nothing
	memory buffer.Buffer
	disk   *wrapio.Wrapper // bytes behind those in memory; nil while there is no file
	file   spillFile
	peak   int64 // the most there was in memory since it was made
	ended  bool
	closed bool
	open   func(dir string) (spillFile, error)
}

// spillFile is what a Backlog needs of its file.
type spillFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Close() error
}

// NewBacklog returns an empty Backlog, which takes no memory and no file yet. The error is ErrTooLong for a limit past
// MaxBacklog. Close gives back what it took.
func NewBacklog(o BacklogOptions) (*Backlog, error) {
	limit := func(n, def int64) int64 {
		if n == 0 {
			return def
		}
		return max(n, 0)
	}
	b := &Backlog{
		memoryMax: limit(o.Memory, DefaultBacklogMemory),
		diskMax:   limit(o.Disk, DefaultBacklogDisk),
		dir:       o.Dir,
		open:      openSpill,
	}
	if b.memoryMax > MaxBacklog || b.diskMax > MaxBacklog {
		return nil, fmt.Errorf("%w: a backlog of more than %d bytes", ErrTooLong, int64(MaxBacklog))
	}
	b.wake.L = &b.mu
	b.memory = buffer.New(b.memoryMax)
	return b, nil
}

// Len returns how many bytes are held.
func (b *Backlog) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held()
}

// Write adds all of p, or nothing of it: with ErrBacklogFull if it does not fit, with ErrClosed after Close and
// CloseWrite, or with the disk's error, after which what was taken before is there still, and a later Write
// may fare better.
func (b *Backlog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed || b.ended:
		return 0, ErrClosed
	case int64(len(p)) > b.memoryMax+b.diskMax-b.held():
		return 0, ErrBacklogFull
	}
	if err := b.shift(int64(len(p))); err != nil {
		return 0, err
	}
	first := 0
	if b.spilled() == 0 {
		first = int(min(int64(len(p)), buffer.Gap(b.memory)))
	}
	// The disk's part goes first, because memory cannot fail.
	if err := b.spill(p[first:]); err != nil {
		return 0, err
	}
	if first > 0 {
		if _, err := b.memory.Write(p[:first]); err != nil {
			return 0, fmt.Errorf("bufio: backlog in memory: %w", err)
		}
	}
	b.peak = max(b.peak, b.memory.Len())
	if len(p) > 0 {
		b.wake.Signal()
	}
	return len(p), nil
}

// Read takes up to len(p) bytes, and waits for the first of them. It returns io.EOF when CloseWrite was called and all
// is read, ErrClosed after Close. A disk's error takes nothing.
func (b *Backlog) Read(p []byte) (int, error) { return b.read(p, true) }

// TryRead is Read without waiting: if nothing is held it returns ErrBacklogEmpty.
func (b *Backlog) TryRead(p []byte) (int, error) { return b.read(p, false) }

func (b *Backlog) read(p []byte, wait bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held() == 0 || b.closed {
		switch {
		case b.closed:
			return 0, ErrClosed
		case b.ended:
			return 0, io.EOF
		case !wait:
			return 0, ErrBacklogEmpty
		}
		b.wake.Wait()
	}
	n, err := b.take(p)
	if b.held() > 0 {
		b.wake.Signal()
	}
	return n, err
}

// CloseWrite says that nothing more will be written. It may be called again.
func (b *Backlog) CloseWrite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.wake.Broadcast()
}

// Close throws away what is held, gives memory and disk back, and ends a Read that waits. The second call does
// nothing and returns nil.
func (b *Backlog) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.memory = buffer.New(0)
	b.disk = nil
	b.wake.Broadcast()
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	return err
}

// The methods below are called with mu held.

func (b *Backlog) held() int64 { return b.memory.Len() + b.spilled() }

func (b *Backlog) spilled() int64 {
	if b.disk == nil {
		return 0
	}
	return b.disk.L
}

// take reads from memory, and from disk when memory is empty.
func (b *Backlog) take(p []byte) (int, error) {
	if b.memory.Len() > 0 {
		n, err := b.memory.Read(p)
		if b.memory.Len() == 0 && b.peak > MaxPeek {
			b.memory, b.peak = buffer.New(b.memoryMax), 0
		}
		return n, err
	}
	p = p[:min(int64(len(p)), b.disk.L)]
	if err := b.peekDisk(p); err != nil {
		return 0, err
	}
	b.forget(int64(len(p)))
	return len(p), nil
}

// shift moves bytes from disk to the room in memory, if n more bytes would not fit behind those on disk.
func (b *Backlog) shift(n int64) error {
	for b.spilled() > 0 && n > b.diskMax-b.spilled() {
		p := make([]byte, min(b.spilled(), buffer.Gap(b.memory), MaxPeek))
		if err := b.peekDisk(p); err != nil {
			return err
		}
		if _, err := b.memory.Write(p); err != nil {
			return fmt.Errorf("bufio: backlog in memory: %w", err)
		}
		b.forget(int64(len(p)))
	}
	return nil
}

// peekDisk reads the first bytes on disk, which are there.
func (b *Backlog) peekDisk(p []byte) error {
	n, err := b.disk.ReadAt(p, 0)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		// The file is shorter than what was written to it.
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("bufio: backlog on disk: %w", err)
}

// forget drops the first n bytes on disk, and gives the disk back when those were all.
func (b *Backlog) forget(n int64) {
	b.disk.O = (b.disk.O + n) % b.disk.N
	b.disk.L -= n
	if b.disk.L == 0 {
		b.disk.Reset()
		// The bytes were delivered, and the file is written from its start again: a failure costs disk only.
		_ = b.file.Truncate(0)
	}
}

// spill writes all of p behind what is on disk, or nothing.
func (b *Backlog) spill(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if b.disk == nil {
		f, err := b.open(b.dir)
		if err != nil {
			return fmt.Errorf("bufio: backlog on disk: %w", err)
		}
		b.file, b.disk = f, wrapio.NewWrapper(f, 0, 0, b.diskMax)
	}
	before := b.disk.L
	n, err := b.disk.Write(p)
	if n == len(p) && err == nil {
		return nil
	}
	b.disk.L = before
	if err == nil {
		err = io.ErrShortWrite
	}
	return fmt.Errorf("bufio: backlog on disk: %w", err)
}

// openNamed makes a file and takes its name away at once where the system lets it.
func openNamed(dir string) (spillFile, error) {
	f, err := os.CreateTemp(dir, "packetstream-backlog-*")
	if err != nil {
		return nil, err
	}
	if os.Remove(f.Name()) != nil {
		return &namedFile{f}, nil
	}
	return f, nil
}

// namedFile keeps its name while it is open, because the system wants that, and loses it when it is closed.
type namedFile struct{ *os.File }

func (f *namedFile) Close() error {
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}
