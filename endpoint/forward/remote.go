package forward

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// ErrStopped says that the other end does not listen any more.
var ErrStopped = errors.New("forward: the other end has stopped listening")

// Remote has the other end listen, whose Server has to allow that, and connects to an address here for each connection
// that comes there.
//
// It returns nil when ctx has ended, ErrStopped when the other end listens no more, and the error of the connection when
// that has ended; what was forwarded has ended then.
func Remote(ctx context.Context, conn Conn, on, to Address, opts *Options) error {
	if opts == nil {
		opts = new(Options)
	}
	as := streamForward + "-" + rand.Text()
	l, err := conn.Listen(as)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // it has none
	stream, err := conn.OpenStream(ctx, streamListen, pconn.Metadata{field(keyOn, on.String()), field(keyAs, as)})
	if err != nil {
		return err
	}
	r := &remote{stream: stream, listener: l, to: to, opts: opts}
	err = r.serve(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return ended(ctx, conn, reason(err))
}

// remote is one listener at the other end.
type remote struct {
	stream   *pconn.Stream // lives as long as it listens
	listener *pconn.Listener
	to       endpoint.Opener
	opts     *Options
	running  sync.WaitGroup
}

func (r *remote) serve(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer r.running.Wait()
	defer r.stream.Reset(0) // ends the other end's listening, and the goroutine below
	defer stop(nil)
	messages := r.stream.Messages(maxAddress)
	on, err := messages.Recv(ctx)
	if err != nil {
		return err
	}
	r.opts.listening(string(on))
	r.running.Go(func() {
		_, err := messages.Recv(context.Background()) // nothing comes but the end
		stop(errors.Join(ErrStopped, err))
	})
	for {
		s, err := r.listener.AcceptStream(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		r.running.Go(func() { r.one(ctx, s) })
	}
}

// one connects one stream.
func (r *remote) one(ctx context.Context, s *pconn.Stream) {
	err := connect(ctx, s, r.to)
	if err != nil {
		s.Reset(0) // if there was no connection nobody has closed it; else what was written last is still on its way
	}
	if err != nil && r.opts.Logger != nil {
		r.opts.Logger.Info("forward: connection ended", "error", err)
	}
}
