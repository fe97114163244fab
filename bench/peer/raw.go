package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// Names of the bounds: the floor's time is the least that a call with nothing else in flight can take, and the
// ceiling's rate the most that many in flight can reach. With many connections the floor is that of files which the runtime
// polls, since a blocked thread for each would be another thing.
const (
	Floor   = "raw-sys"
	Polled  = "raw-pp"
	Ceiling = "raw-win"
)

// bounds are what the bare system calls give. A frame is the payload and nothing else.
func bounds() []*Peer {
	alone := func(c Cell) string {
		if c.InFlight > 1 || c.Conns > 1 {
			return "one frame back and forth"
		}
		return ""
	}
	oneEach := func(c Cell) string {
		if c.InFlight > max(1, c.Conns) {
			return "one frame back and forth on a connection"
		}
		return ""
	}
	single := func(c Cell) string {
		if c.Conns > 1 {
			return "one pair of pipes"
		}
		return ""
	}
	return []*Peer{
		{Name: Floor, Kind: Bound, Blocking: true, Unfit: alone, Open: openRawSys},
		{Name: Polled, Kind: Bound, Unfit: oneEach, Open: openPolled},
		{Name: Ceiling, Kind: Bound, Unfit: single, Open: openWindow},
	}
}

// rawConn sends a frame and reads it back.
type rawConn struct {
	r io.Reader
	w io.Writer
	f *files
}

func (c *rawConn) Call(_ context.Context, payload, buf []byte) ([]byte, error) {
	if _, err := c.w.Write(payload); err != nil {
		return nil, err
	}
	buf = buf[:len(payload)]
	_, err := io.ReadFull(c.r, buf)
	return buf, err
}

func (c *rawConn) Close() error { return c.f.Close() }

// openRaw answers frame by frame on a goroutine that ends with the input.
func openRaw(side Side, c *rawConn, size int) (Conn, error) {
	if side == Caller {
		return c, nil
	}
	go func() {
		buf := make([]byte, size)
		for {
			if _, err := io.ReadFull(c.r, buf); err != nil {
				return
			}
			if _, err := c.w.Write(buf); err != nil {
				return
			}
		}
	}()
	return answerer{c.Close}, nil
}

func openPolled(side Side, r, w *os.File, cell Cell) (Conn, error) {
	return openRaw(side, &rawConn{r, w, &files{r: r, w: w}}, cell.Size)
}

func openRawSys(side Side, r, w *os.File, cell Cell) (Conn, error) {
	// Fd takes the files out of the poller, which is wanted here. Closing them does not end a read that blocks: the
	// answering end ends with its process, or with its input.
	return openRaw(side, &rawConn{fdReader(r.Fd()), fdWriter(w.Fd()), &files{r: r, w: w}}, cell.Size)
}

type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return syscall.Read(int(fd), p) })
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

type fdWriter int

func (fd fdWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := retry(func() (int, error) { return syscall.Write(int(fd), p[done:]) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}

// batchBytes is how much a window writes and reads at a time.
const batchBytes = 64 << 10

// window streams frames in batches of as many as fit in batchBytes, at least one.
type window struct{ f *files }

func openWindow(side Side, r, w *os.File, _ Cell) (Conn, error) {
	f := &files{r: r, w: w}
	if side == Caller {
		return &window{f}, nil
	}
	go func() {
		// os.File's own WriteTo would splice, which is no reading and writing.
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, batchBytes))
	}()
	return answerer{f.Close}, nil
}

func (*window) Call(context.Context, []byte, []byte) ([]byte, error) {
	return nil, errors.New("a window has no calls")
}

func (c *window) Close() error { return c.f.Close() }

// Stream implements Streamer. Its writing goroutine ends before it does.
func (c *window) Stream(ctx context.Context, frame []byte, inFlight int, count func(int)) error {
	frames := max(1, min(inFlight, batchBytes/len(frame)))
	batch := bytes.Repeat(frame, frames)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tokens := make(chan struct{}, max(1, inFlight/frames))
	var writer sync.WaitGroup
	defer writer.Wait()
	stop := context.AfterFunc(ctx, func() { _ = c.f.Close() })
	defer stop()
	writer.Go(func() {
		for ctx.Err() == nil {
			select {
			case tokens <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if _, err := c.f.w.Write(batch); err != nil {
				return
			}
		}
	})
	got := make([]byte, min(len(batch), batchBytes))
	for at := 0; ; {
		n, err := c.f.r.Read(got[:min(len(got), len(batch)-at)])
		if err != nil {
			cancel()
			return errors.Join(ctx.Err(), err)
		}
		if !bytes.Equal(got[:n], batch[at:at+n]) {
			return fmt.Errorf("wrong bytes in a batch of %d", len(batch))
		}
		at += n
		if at == len(batch) {
			at = 0
			count(frames)
			<-tokens
		}
	}
}
