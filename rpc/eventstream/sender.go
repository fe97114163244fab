package eventstream

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// sender is the writing half of a connection: a queue of encoded messages and the goroutine that
// writes them. What comes while a write is under way leaves together in the next one.
type sender struct {
	room    *budget // for what the application sends
	answers *budget // for what the receiver has to answer; it must not wait
	wake    chan struct{}

	w       io.Writer
	try     *tryWriter // nil if w cannot be written to without waiting; used by who has inline set
	onError func(error)

	timeout time.Duration // of one write; 0 for none
	expired func()        // gives the connection up, which ends the write

	mu      sync.Mutex // guards the fields below; never held during a write
	queue   batch
	spare   batch  // the memory of a written one, for reuse
	small   []byte // likewise, of a chunk
	large   []byte // likewise, of a large message
	writing bool   // somebody is writing or has been woken to
	inline  bool   // that somebody is a caller of push
	corked  bool   // what is queued waits for more
	err     error  // why nothing more is accepted
}

// batch is what leaves in one write.
type batch struct {
	chunks   net.Buffers
	open     bool // more may be appended to the last chunk
	receipts []receipt
}

// receipt settles one message once it was written or given up.
type receipt struct {
	budget *budget
	weight int64
	notify func(error) // takes over the weight; nil to give it back
}

func (r receipt) settle(err error) {
	switch {
	case r.notify != nil:
		r.notify(err)
	case r.budget != nil:
		r.budget.give(r.weight)
	}
}

func newSender(w io.Writer, l limits, onError func(error), expired func()) *sender {
	return &sender{
		room:    newBudget(l.sendQueue),
		answers: newBudget(l.sendQueue),
		wake:    make(chan struct{}, 1),
		w:       w,
		try:     newTryWriter(w),
		onError: onError,
		timeout: l.writeTimeout,
		expired: expired,
	}
}

func (s *sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// outgoing is a message on its way into the queue.
type outgoing struct {
	message   *Message
	stream    int32
	operation string
	hlen      int
	total     int
	receipt   receipt
}

// prepare checks a message before anything is taken or changed for it.
func (s *sender) prepare(m *Message, operation string) (outgoing, error) {
	hlen, total, err := messageLen(m, operation)
	if err != nil {
		return outgoing{}, err
	}
	return outgoing{message: m, operation: operation, hlen: hlen, total: total,
		receipt: receipt{budget: s.room, weight: s.room.weight(total)}}, nil
}

// reserve waits for room in the queue.
func (s *sender) reserve(ctx, conn context.Context, o *outgoing) error {
	return s.room.take(ctx, conn, o.receipt.weight)
}

// tryReserve takes room if there is some.
func (s *sender) tryReserve(o *outgoing) error {
	if !s.room.tryTake(o.receipt.weight) {
		return ErrQueueFull
	}
	return nil
}

// push queues a message for which room was reserved. If it is not accepted the room is given back, and no
// notification comes.
func (s *sender) push(o *outgoing) error {
	var own []byte
	if o.total > inlineMessageLen {
		own = appendMessage(s.takeLarge(), o.message, o.stream, o.operation, o.hlen)
	}
	s.mu.Lock()
	if err := s.err; err != nil {
		s.mu.Unlock()
		if o.receipt.budget != nil {
			o.receipt.budget.give(o.receipt.weight)
		}
		return err
	}
	if own != nil {
		s.queue.chunks, s.queue.open = append(s.queue.chunks, own), false
	} else {
		last := s.openChunk()
		*last = appendMessage(*last, o.message, o.stream, o.operation, o.hlen)
	}
	s.queue.receipts = append(s.queue.receipts, o.receipt)
	s.start()
	return nil
}

// answer queues a message that the receiver has to send. It never waits: what does not fit ends the
// connection, by the error it returns.
func (s *sender) answer(m *Message) error { return s.answerStream(0, m) }

func (s *sender) answerStream(stream int32, m *Message) error {
	o, err := s.prepare(m, "")
	if err != nil {
		return err
	}
	o.stream = stream
	o.receipt = receipt{budget: s.answers, weight: s.answers.weight(o.total)}
	if !s.answers.tryTake(o.receipt.weight) {
		return ErrQueueFull
	}
	return s.push(&o)
}

// pushBareEnd queues a message that says nothing but that a stream is over. It takes no room: it is small, and
// there is one for a stream that this end has opened.
func (s *sender) pushBareEnd(stream int32) {
	o, err := s.prepare(&Message{Flags: FlagTerminateStream}, "")
	if err != nil {
		return
	}
	o.stream, o.receipt = stream, receipt{}
	// If it is not accepted the connection has ended, and with it the stream.
	_ = s.push(&o)
}

// takeLarge returns memory for a large message, if there is some to reuse.
func (s *sender) takeLarge() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.large
	s.large = nil
	return b
}

// openChunk returns the chunk that small messages are appended to. Called with mu held.
func (s *sender) openChunk() *[]byte {
	q := &s.queue
	if n := len(q.chunks); !q.open || len(q.chunks[n-1]) > inlineMessageLen {
		q.chunks, q.open = append(q.chunks, s.small), true
		s.small = nil
	}
	return &q.chunks[len(q.chunks)-1]
}

// cork makes what is pushed wait for uncork, to leave in one write. stop uncorks too.
func (s *sender) cork() {
	s.mu.Lock()
	s.corked = true
	s.mu.Unlock()
}

func (s *sender) uncork() {
	s.mu.Lock()
	if !s.corked {
		s.mu.Unlock()
		return
	}
	s.corked = false
	if len(s.queue.chunks) == 0 {
		s.mu.Unlock()
		return
	}
	s.start()
}

// start sees to it that somebody writes the queue. Called with mu held, returns without.
func (s *sender) start() {
	if s.writing || s.corked {
		s.mu.Unlock()
		return
	}
	s.writing = true
	if s.try == nil || len(s.queue.chunks) > 1 {
		s.mu.Unlock()
		s.signal()
		return
	}
	s.inline = true
	b := s.takeQueue()
	s.mu.Unlock()
	s.writeInline(b)
}

// writeInline writes what the transport takes without waiting, on the goroutine that had the message: a wake-up
// saved. The rest is the writer's.
func (s *sender) writeInline(b batch) {
	n, err := s.try.try(b.chunks[0])
	written := err == nil && n == len(b.chunks[0])
	if written {
		b.settle(nil)
	}
	s.mu.Lock()
	s.inline = false
	if written {
		s.recycle(b)
	} else {
		// An error is met again, and reported, by the writer.
		b.chunks[0] = b.chunks[0][n:]
		b.chunks = append(b.chunks, s.queue.chunks...)
		b.receipts = append(b.receipts, s.queue.receipts...)
		b.open = s.queue.open
		s.queue = b
	}
	again := len(s.queue.chunks) > 0 || s.err != nil
	s.writing = len(s.queue.chunks) > 0
	s.mu.Unlock()
	if again {
		s.signal()
	}
}

// takeQueue is called with mu held.
func (s *sender) takeQueue() batch {
	b := s.queue
	s.queue, s.spare = s.spare, batch{}
	return b
}

// recycle keeps the memory of a batch that was written and settled, if it is not too much. Called with mu held.
func (s *sender) recycle(b batch) {
	for _, chunk := range b.chunks {
		switch {
		case cap(chunk) > keepBufferLen:
		case cap(chunk) > 2*inlineMessageLen:
			s.large = chunk[:0]
		case cap(chunk) > cap(s.small):
			s.small = chunk[:0]
		}
	}
	if len(b.receipts) > keepReceipts {
		return
	}
	clear(b.chunks)
	clear(b.receipts)
	s.spare = batch{chunks: b.chunks[:0], receipts: b.receipts[:0]}
}

// run writes until stop was called and the queue is empty.
func (s *sender) run() {
	for range s.wake {
		if s.drain() {
			return
		}
	}
}

// drain writes the queue until it is empty, and reports whether that was the end.
func (s *sender) drain() (stopped bool) {
	for {
		s.mu.Lock()
		if s.inline {
			s.mu.Unlock()
			return false
		}
		if len(s.queue.chunks) == 0 {
			s.writing = false
			stopped = s.err != nil
			s.mu.Unlock()
			return stopped
		}
		s.writing = true
		b := s.takeQueue()
		s.mu.Unlock()

		if err := s.write(b.chunks); err != nil {
			s.onError(err)
			s.stop(err, nil, true)
			b.settle(err)
			continue
		}
		b.settle(nil)
		s.mu.Lock()
		s.recycle(b)
		s.mu.Unlock()
	}
}

// write writes chunks within the timeout.
func (s *sender) write(chunks net.Buffers) error {
	if s.timeout > 0 {
		defer time.AfterFunc(s.timeout, s.expired).Stop()
	}
	if len(chunks) == 1 {
		_, err := s.w.Write(chunks[0])
		return err
	}
	// WriteTo consumes the slice it is called on, and the caller's is to be used again.
	rest := append(net.Buffers(nil), chunks...)
	_, err := rest.WriteTo(s.w)
	return err
}

func (b *batch) settle(err error) {
	for _, r := range b.receipts {
		r.settle(err)
	}
}

// stop lets nothing more in: push returns err from now on. last, if not nil, is queued as the last message.
// What is queued is still written, or given up if drop is set. Later calls change nothing but can still drop.
func (s *sender) stop(err error, last *Message, drop bool) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
		s.pushLast(last)
	}
	s.corked = false
	err = s.err
	var dropped batch
	if drop {
		dropped = s.takeQueue()
	}
	s.mu.Unlock()
	dropped.settle(err)
	s.signal()
}

// pushLast is called with mu held.
func (s *sender) pushLast(m *Message) {
	if m == nil {
		return
	}
	o, err := s.prepare(m, "")
	if err != nil {
		return
	}
	last := s.openChunk()
	*last = appendMessage(*last, m, 0, "", o.hlen)
}
