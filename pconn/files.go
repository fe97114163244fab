package pconn

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/internal/aside"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// FilesError says why no files can go with requests and responses of a connection. It matches errors.ErrUnsupported.
type FilesError struct {
	// Reason says what is missing.
	Reason string
	// Err is ErrNoExtensions, or nil where those are there.
	Err error
}

func (e *FilesError) Error() string { return "pconn: files cannot be passed: " + e.Reason }

// Unwrap returns Err.
func (e *FilesError) Unwrap() error { return e.Err }

// Is makes the error match errors.ErrUnsupported.
func (e *FilesError) Is(target error) bool { return target == errors.ErrUnsupported }

// files is what a connection has to do with files that are passed. Every file that was received has one owner: what
// was said of a packet that is still to come (extra), then the request or the response, then the handler or caller. Who
// cannot pass it on has it closed (dropFiles).
type files struct {
	passes  bool                   // the output can send descriptors
	takes   bool                   // the input takes them, and the peer may be told
	unused  *aside.Queue[*os.File] // to be closed; nil unless takes
	leaving *bufio.Handles         // go with what is written now; only who writes uses it
}

// prepareFiles finds out what the ends of the stream can do. The connection has not begun.
func (c *Conn) prepareFiles() {
	if c.opts.Extensions == ExtensionsOff {
		return
	}
	c.files.passes = c.out.PassHandles()
	if c.opts.MaxFiles > 0 && c.in.TakeFiles(c.dropFiles) {
		c.files.takes = true
		c.files.unused = aside.New(maxUnclosed, func(f *os.File) { _ = f.Close() })
	}
}

// leaveFiles ends the taking of files with that of packets.
func (c *Conn) leaveFiles() {
	c.dropExtra()
	if c.files.takes {
		c.in.LeaveFiles()
	}
}

// close waits until unused files are closed.
func (f *files) close(limit context.Context) {
	if f.unused != nil {
		_ = f.unused.Close(limit) // one whose close does not return is left behind
	}
}

// dropFiles has files closed that nobody takes. Closing may take as long as the peer wants, so nobody waits for it; a
// peer that lets too many pile up loses the connection.
func (c *Conn) dropFiles(list []*os.File) {
	if len(list) == 0 {
		return
	}
	c.counters.StrayFiles.Add(uint64(len(list)))
	tooMany := false
	for _, f := range list {
		if !c.files.unused.Put(f) {
			tooMany = true
			_ = f.Close()
		}
	}
	if tooMany {
		c.fail(&LimitError{What: "files waiting to be closed", Value: maxUnclosed + 1, Max: maxUnclosed})
	}
}

// leave has the files closed that are left of what was said of a packet.
func (c *Conn) leave(e *extra) {
	c.dropFiles(e.takeFiles())
}

func (c *Conn) leavePartial(p *partial) {
	if p != nil {
		c.leave(p.more)
	}
}

// takeFiles passes the files on that go with the packet.
func (e *extra) takeFiles() []*os.File {
	if e == nil {
		return nil
	}
	files := e.files
	e.files = nil
	return files
}

// MaxFiles returns how many files the peer takes with one request or response. It offers the extensions and waits until
// the peer has answered. The error is a *FilesError if there can be none, ctx's, or that of the connection's end.
func (c *Conn) MaxFiles(ctx context.Context) (int, error) {
	switch {
	case c.opts.Extensions == ExtensionsOff:
		return 0, &FilesError{Reason: "extensions are off", Err: ErrNoExtensions}
	case !c.files.passes:
		return 0, &FilesError{Reason: "the connection does not go over a Unix socket that can pass them"}
	}
	if err := c.awaitExtensions(ctx); err == ErrNoExtensions {
		return 0, &FilesError{Reason: "the peer has no extensions", Err: err}
	} else if err != nil {
		return 0, err
	}
	return c.peersFiles()
}

// peersFiles is MaxFiles once the extensions are on.
func (c *Conn) peersFiles() (int, error) {
	peer := &c.ext.peer
	if peer.Features&frame.FeatureFiles == 0 || peer.MaxFiles == 0 {
		return 0, &FilesError{Reason: "the peer takes none"}
	}
	return int(min(peer.MaxFiles, MaxFiles)), nil
}

// needFiles waits until it is known that n files can go with a request.
func (c *Conn) needFiles(ctx context.Context, n int) error {
	most, err := c.MaxFiles(ctx)
	if err != nil {
		return err
	}
	return checkFiles("request", n, most)
}

func checkFiles(what string, n, most int) error {
	if n > most {
		return &LimitError{What: "files with a " + what, Value: int64(n), Max: int64(most)}
	}
	return nil
}

// sendFiles is send for a request with files, of which descriptors of our own are sent: so the caller may close its
// own at any time.
func (c *Conn) sendFiles(ctx context.Context, call *call, req *Request, inHandler bool) error {
	handles, err := bufio.NewHandles(req.Files)
	if err != nil {
		return err
	}
	call.files = handles
	if err := c.send(ctx, call, req, inHandler); err != nil {
		handles.Close()
		return err
	}
	return nil
}

// appendFiles queues FILES and the descriptors that go with it, if there are any. The packet that it is about follows
// under the same lock, and has it sent. If nothing can be sent any more the descriptors are given back, to be closed
// without the lock. Conn.mu is held.
func (c *Conn) appendFiles(tag, flags uint64, h *bufio.Handles) (unsent *bufio.Handles) {
	s := &c.st.sender
	if h == nil || s.eof || s.err != nil {
		return h
	}
	c.counters.FilesOut.Add(uint64(h.Len()))
	header := frame.Header(frame.KindFiles, tag, flags|uint64(h.Len())<<1, 0)
	b := s.toFill()
	buf, _ := header.Append(b.Begin())
	b.EndHandles(buf, h)
	b.note(c, &header)
	return nil
}

// takeHandles returns the descriptors that will not be sent any more. Conn.mu is held.
func (s *sender) takeHandles() (handles []*bufio.Handles) {
	for _, b := range []*batch{s.pending, s.current} {
		if b != nil && b.HasHandles() {
			handles = append(handles, b.TakeHandles()...)
		}
	}
	return handles
}

// finishFiles is the end of a handler that has to do with files: those of its reply are made ready to be sent, if err is
// nil, and all that are the connection's are closed.
func (c *Conn) finishFiles(in *incoming, r *Reply, err error) error {
	files := r.filesBeside()
	if err == nil && len(files) > 0 {
		err = c.replyFiles(in.ctx, files)
	}
	closeFiles(files)
	closeFiles(in.ctx.req.TakeFiles())
	return err
}

// closeHandles closes descriptors that will not leave. It is called without the lock, since a close may take its time.
func closeHandles(list []*bufio.Handles) {
	for _, h := range list {
		h.Close()
	}
}

func closeFiles(list []*os.File) {
	for _, f := range list {
		_ = f.Close() // of what was only passed on there is nothing to lose
	}
}

// replyFiles makes the files of an answer ready to be sent.
func (c *Conn) replyFiles(h *handlerContext, files []*os.File) error {
	most, err := 0, error(&FilesError{Reason: "the caller cannot have them"})
	if c.files.passes && c.ext.on.Load() {
		most, err = c.peersFiles()
	}
	if err == nil {
		err = checkFiles("reply", len(files), most)
	}
	if err != nil {
		return Errorf("%w", err)
	}
	handles, err := bufio.NewHandles(files)
	if err != nil {
		return err
	}
	h.needMore().files = handles
	return nil
}

// hasFiles says whether files go with the answer.
func (h *handlerContext) hasFiles() bool {
	rest := h.more()
	return rest != nil && rest.files != nil
}

// closeUnsent closes the files of an answer that was not queued.
func (h *handlerContext) closeUnsent() {
	if rest := h.more(); rest != nil {
		rest.files.Close()
		rest.files = nil
	}
}

// filesFrame takes a FILES, whose descriptors have come with it.
func (c *Conn) filesFrame(h *packet.Header) error {
	came := c.in.Files(c.in.Offset() - int64(h.Len()))
	if err := c.checkFilesFrame(h, len(came)); err != nil {
		c.dropFiles(came)
		return err
	}
	c.dropExtra()
	c.counters.FilesIn.Add(uint64(len(came)))
	c.ext.extra = &extra{tag: h.Tag, response: h.Flags&frame.FlagResponse != 0, files: came}
	return nil
}

func (c *Conn) checkFilesFrame(h *packet.Header, came int) error {
	n := h.Flags >> 1
	reason := ""
	switch {
	case !c.files.takes:
		reason = "FILES, which this end does not take"
	case h.Size > 0:
		reason = "FILES with a payload"
	case n == 0:
		reason = "FILES of none"
	case n > uint64(c.opts.MaxFiles):
		return &LimitError{What: "files with a packet", Value: int64(n), Max: int64(c.opts.MaxFiles)}
	case came == 0:
		reason = fmt.Sprintf("FILES of %d with which none came: what the connection goes through may not pass them", n)
	case uint64(came) != n:
		reason = fmt.Sprintf("FILES of %d with which %d came", n, came)
	default:
		return nil
	}
	return &ProtocolError{Reason: reason, Quote: quoteHeader(h, nil)}
}
