package share

import (
	"context"
	"errors"
	"os/exec"

	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/pconn"
)

// maxHandlers is how many requests may wait for an answer of the other side, on one connection, unless its options say
// otherwise: as many as a peer may have outstanding. If there were fewer, questions that are answered by further questions
// could fill the places and wait for each other.
const maxHandlers = 16384

// Options are the settings of Children. The zero value, or nil, is the default of all.
type Options struct {
	// Pool are the settings of the children. Of Pool.Start.Conn the handlers must not be set: what children ask goes to
	// the connections.
	Pool pool.Options
	// AskBack lets the children ask the connections that asked them: see the package's documentation. A child without
	// the protocol's extensions then ends with pconn.ErrNoExtensions.
	AskBack bool
}

// Children are the children that connections share. Its methods may be called concurrently.
//
// All Children have to be ended, by Close or Shutdown, after the connections that they serve.
type Children struct {
	pool    *pool.Pool
	names   *names
	askBack bool
}

// Start starts the children and returns when all of them are there: see pool.Start.
func Start(ctx context.Context, command func() *exec.Cmd, opts *Options) (*Children, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	conn := &o.Pool.Start.Conn
	if conn.Handler != nil || conn.OtherChannels != nil || conn.StreamHandler != nil {
		return nil, errors.New("share: Options.Pool.Start.Conn has handlers of its own")
	}
	c := &Children{names: newNames(), askBack: o.AskBack}
	conn.Handler = pconn.HandlerFunc(c.ask)
	conn.OtherChannels = conn.Handler
	conn.StreamHandler = pconn.StreamHandlerFunc(c.openBack)
	if conn.MaxHandlers == 0 {
		conn.MaxHandlers = maxHandlers
	}
	if o.AskBack {
		conn.Extensions = pconn.ExtensionsRequired
	}
	var err error
	if c.pool, err = pool.Start(ctx, command, &o.Pool); err != nil {
		return nil, err
	}
	return c, nil
}

// Pool returns the pool of the children. It is the Children's to end.
func (c *Children) Pool() *pool.Pool { return c.pool }

// Serving returns the options of a connection that shares the children: a copy of opts, which may be nil, in which what
// answers channel 0, channels that have no handler of their own, and streams is the children.
func (c *Children) Serving(opts *pconn.Options) *pconn.Options {
	var o pconn.Options
	if opts != nil {
		o = *opts
	}
	o.Handler = pconn.HandlerFunc(c.serve)
	o.OtherChannels = o.Handler
	o.StreamHandler = pconn.StreamHandlerFunc(c.open)
	if o.MaxHandlers == 0 {
		o.MaxHandlers = maxHandlers
	}
	return &o
}

// Close ends the children: see pool.Pool.Close.
func (c *Children) Close() error {
	err := c.pool.Close()
	c.names.close()
	return err
}

// Shutdown lets the children finish what they were asked, and ends them: see pool.Pool.Shutdown.
func (c *Children) Shutdown(ctx context.Context) error {
	err := c.pool.Shutdown(ctx)
	c.names.close()
	return err
}
