package pconn

import (
	"context"
	"sync"
	"time"
)

// Mux is a Handler that hands each request to the handler of its type. A request of a type that has
// none is an error response that says so. Handlers may be added while it serves; all methods may be called
// concurrently.
type Mux struct {
	mu     sync.RWMutex // guards routes and wraps
	routes map[uint64]*route
	wraps  []Middleware
}

// Middleware wraps a handler in another: to log, to authorise, to measure.
type Middleware func(Handler) Handler

// route is one type's handler with its limits.
type route struct {
	handler Handler // as it was given
	wrapped Handler // in the middleware
	opts    RouteOptions
	places  chan struct{} // a token for each request at work, if there is a limit
}

// RouteOptions limit the requests of one type. The zero value limits nothing.
type RouteOptions struct {
	// MaxHandlers is how many requests of the type may be at work at a time. Those beyond wait, and
	// do not count against Options.MaxHandlers while they do.
	MaxHandlers int
	// Timeout ends the handler's context that long after the handler began.
	Timeout time.Duration
}

// NewMux returns a Mux without handlers.
func NewMux() *Mux { return &Mux{routes: make(map[uint64]*route)} }

// Handle sets the handler of a type, in place of an earlier one.
func (m *Mux) Handle(typ uint64, h Handler) { m.HandleWith(typ, RouteOptions{}, h) }

// HandleFunc sets a func as the handler of a type.
func (m *Mux) HandleFunc(typ uint64, f func(ctx context.Context, req *Request) (Reply, error)) {
	m.Handle(typ, HandlerFunc(f))
}

// HandleWith sets the handler of a type and its limits.
func (m *Mux) HandleWith(typ uint64, opts RouteOptions, h Handler) {
	r := &route{handler: h, opts: opts}
	if opts.MaxHandlers > 0 {
		r.places = make(chan struct{}, opts.MaxHandlers)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.wrapped = wrap(h, m.wraps)
	m.routes[typ] = r
}

// Use wraps all handlers, those added before and after, in middleware; the first given is the
// outermost.
func (m *Mux) Use(wraps ...Middleware) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wraps = append(m.wraps, wraps...)
	for typ, r := range m.routes {
		m.routes[typ] = &route{handler: r.handler, wrapped: wrap(r.handler, m.wraps), opts: r.opts, places: r.places}
	}
}

func wrap(h Handler, wraps []Middleware) Handler {
	for i := len(wraps) - 1; i >= 0; i-- {
		h = wraps[i](h)
	}
	return h
}

// ServePacket hands the request to its type's handler.
func (m *Mux) ServePacket(ctx context.Context, req *Request) (Reply, error) {
	m.mu.RLock()
	r := m.routes[req.Type]
	m.mu.RUnlock()
	if r == nil {
		return Reply{}, Errorf("no handler for request type %d", req.Type)
	}
	if r.places != nil {
		if err := r.wait(ctx, req); err != nil {
			return Reply{}, err
		}
		defer func() { <-r.places }()
	}
	if r.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.opts.Timeout)
		defer cancel()
	}
	return r.wrapped.ServePacket(ctx, req)
}

// marked says whether the type's handler is marked NonBlocking, and nothing around it waits.
func (m *Mux) marked(typ uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.routes[typ]
	return r != nil && r.places == nil && len(m.wraps) == 0 && isMarked(r.handler, typ)
}

// wait waits for one of the route's places, having given the connection's away.
func (r *route) wait(ctx context.Context, req *Request) error {
	select {
	case r.places <- struct{}{}:
		return nil
	default:
	}
	if req.Conn != nil {
		in, err := req.Conn.leavePlace(ctx)
		if err != nil {
			return err
		}
		if in != nil {
			defer req.Conn.rejoinPlace(in)
		}
	}
	select {
	case r.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
