package grpclinks

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/packetstream/packetstream/internal/reuse"
	"github.com/packetstream/packetstream/rpc/links"
)

// ErrServerStopped is returned by Serve and Attach after Stop or GracefulStop.
var ErrServerStopped = errors.New("grpclinks: the server has been stopped")

// ServerOptions are the settings of a [Server]. The zero value is ready.
type ServerOptions struct {
	// UnaryInterceptors and StreamInterceptors are called around each handler, the first one outermost.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
	// StatsHandlers see each call and each connection.
	StatsHandlers []stats.Handler
	// UnknownService handles the methods nobody registered; nil answers Unimplemented.
	UnknownService grpc.StreamHandler
	// MaxReceive is the largest message received, in bytes; 0 is DefaultMaxReceive.
	MaxReceive int
	// MaxSend is the largest message sent, in bytes; 0 is DefaultMaxSend.
	MaxSend int
	// MaxConcurrentStreams is how many handlers run at once for a connection; further calls wait. 0 is no limit.
	MaxConcurrentStreams int
	// ConnectionTimeout is how long Serve waits for the peer's HELLO; 0 is DefaultConnectionTimeout.
	ConnectionTimeout time.Duration
	// Trusted says that nobody else can read or write the link, as with the pipes of a child: the peer has a security level.
	Trusted bool
}

// Server serves calls over any number of links. It is what generated RegisterXServer functions take. Its methods may be called concurrently.
type Server struct {
	opts   ServerOptions
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
	memory reuse.Buffers // of messages on their way out

	mu       sync.Mutex // guards what follows
	services map[string]*service
	serving  bool
	stopped  bool
	attached map[*attachment]struct{}
	done     chan struct{} // closed when the server is stopped
}

var _ grpc.ServiceRegistrar = (*Server)(nil)

// service is what was registered.
type service struct {
	impl    any
	desc    *grpc.ServiceDesc
	methods map[string]*method
}

// method is one of a service: desc for one with one request and one reply, stream for others.
type method struct {
	full   string
	impl   any
	desc   *grpc.MethodDesc
	stream *grpc.StreamDesc
}

// attachment is a link that is served.
type attachment struct {
	server  *Server
	link    links.Link
	end     *links.End
	ctx     context.Context // what stats handlers say of the connection
	slots   chan struct{}   // of MaxConcurrentStreams
	endConn func()
}

// NewServer makes a server without services.
func NewServer(opts *ServerOptions) *Server {
	s := &Server{services: make(map[string]*service), attached: make(map[*attachment]struct{}), done: make(chan struct{})}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.MaxReceive == 0 {
		s.opts.MaxReceive = DefaultMaxReceive
	}
	if s.opts.MaxSend == 0 {
		s.opts.MaxSend = DefaultMaxSend
	}
	if s.opts.ConnectionTimeout <= 0 {
		s.opts.ConnectionTimeout = DefaultConnectionTimeout
	}
	s.unary = chainUnaryServer(s.opts.UnaryInterceptors)
	s.stream = chainStreamServer(s.opts.StreamInterceptors)
	return s
}

// RegisterService adds a service, before the first Serve or Attach. An implementation that does not fit, a service registered twice, and a
// registration that comes too late are mistakes of the program: they panic.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if impl != nil {
		want := reflect.TypeOf(desc.HandlerType).Elem()
		if got := reflect.TypeOf(impl); !got.Implements(want) {
			panic(fmt.Sprintf("grpclinks: RegisterService: %v does not implement %v", got, want))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		panic(fmt.Sprintf("grpclinks: RegisterService of %q after Serve", desc.ServiceName))
	}
	if _, twice := s.services[desc.ServiceName]; twice {
		panic(fmt.Sprintf("grpclinks: RegisterService of %q a second time", desc.ServiceName))
	}
	added := &service{impl: impl, desc: desc, methods: make(map[string]*method)}
	for i := range desc.Methods {
		name := desc.Methods[i].MethodName
		added.methods[name] = &method{full: "/" + desc.ServiceName + "/" + name, impl: impl, desc: &desc.Methods[i]}
	}
	for i := range desc.Streams {
		name := desc.Streams[i].StreamName
		added.methods[name] = &method{full: "/" + desc.ServiceName + "/" + name, impl: impl, stream: &desc.Streams[i]}
	}
	s.services[desc.ServiceName] = added
}

// GetServiceInfo describes what was registered, for the reflection service.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]grpc.ServiceInfo)
	for name, registered := range s.services {
		info := grpc.ServiceInfo{Metadata: registered.desc.Metadata}
		for _, m := range registered.desc.Methods {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, m := range registered.desc.Streams {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams})
		}
		all[name] = info
	}
	return all
}

// Attach joins a link and returns at once; the calls that come over it are served until it ends or the server is stopped. The link stays its
// maker's to close.
func (s *Server) Attach(link links.Link) error {
	_, err := s.attach(link)
	return err
}

// Serve is Attach that waits until the link has ended, or the server is stopped, and the handlers of its calls have returned. It returns nil
// when the link was closed or its peer went away, ErrServerStopped if the server was stopped before, and what broke the link otherwise.
func (s *Server) Serve(link links.Link) error {
	a, err := s.attach(link)
	if err != nil {
		return err
	}
	conn, ok := find[lifetime](link)
	if !ok {
		<-s.done
		<-a.end.Stop(forever)
		return nil
	}
	if err := s.awaitHello(link, conn); err != nil {
		return err
	}
	select {
	case <-conn.Done():
		err = conn.Err()
		if errors.Is(err, links.ErrClosed) || errors.Is(err, links.ErrPeerGone) {
			err = nil
		}
	case <-s.done:
	}
	<-a.end.Stop(forever)
	return err
}

// awaitHello ends the wait for a peer that never says anything.
func (s *Server) awaitHello(link links.Link, conn lifetime) error {
	greeting, ok := find[interface{ Ready() <-chan struct{} }](link)
	if !ok {
		return nil
	}
	timer := time.NewTimer(s.opts.ConnectionTimeout)
	defer timer.Stop()
	select {
	case <-greeting.Ready():
	case <-conn.Done():
	case <-s.done:
	case <-timer.C:
		return fmt.Errorf("grpclinks: the peer said nothing for %v", s.opts.ConnectionTimeout)
	}
	return nil
}

func (s *Server) attach(link links.Link) (*attachment, error) {
	a := &attachment{server: s, link: link}
	if n := s.opts.MaxConcurrentStreams; n > 0 {
		a.slots = make(chan struct{}, n)
	}
	a.end = links.NewEnd(a, &links.EndOptions{AutoGrant: openMessages, ServiceEnds: true, MaxPayload: payloadLimit(s.opts.MaxReceive)})
	_ = a.end.Start() // the only one
	var endConn func()
	a.ctx, endConn = tagConn(context.Background(), s.opts.StatsHandlers, false)
	a.endConn = sync.OnceFunc(endConn)
	if !s.add(a) {
		a.endConn()
		return nil, ErrServerStopped
	}
	links.Join(a.end, link)
	if conn, ok := find[lifetime](link); ok {
		// It ends with the connection, whose maker waits for that, or with the server.
		go func() {
			select {
			case <-conn.Done():
			case <-s.done:
			}
			s.detach(a)
		}()
	}
	return a, nil
}

// add makes it one that Stop ends, or reports false if the server is stopped already.
func (s *Server) add(a *attachment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = true
	if s.stopped {
		return false
	}
	s.attached[a] = struct{}{}
	return true
}

func (s *Server) detach(a *attachment) {
	a.endConn()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attached, a)
}

// Stop ends all calls; their callers are told Unavailable, and so are those of later calls. It does not wait for handlers: Serve does.
func (s *Server) Stop() {
	for _, a := range s.stop() {
		a.end.Stop(0)
		a.endConn()
	}
}

// GracefulStop lets the calls that run come to their end; later calls are Unavailable. It returns when their handlers have returned.
func (s *Server) GracefulStop() {
	all := s.stop()
	stopped := make([]<-chan struct{}, len(all))
	for i, a := range all {
		if conn, ok := find[interface{ GoAway(string) }](a.link); ok {
			conn.GoAway("the server is stopping")
		}
		stopped[i] = a.end.Stop(forever)
	}
	for i, a := range all {
		<-stopped[i]
		a.endConn()
	}
}

// stop marks the server and returns what is to be ended. A second call has it all again, so that Stop can cut a GracefulStop short.
func (s *Server) stop() []*attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.done)
	}
	all := make([]*attachment, 0, len(s.attached))
	for a := range s.attached {
		all = append(all, a)
	}
	return all
}

// find looks a method up.
func (s *Server) find(group, name string) (*method, string) {
	if group == "" {
		return nil, fmt.Sprintf("malformed method name: %q", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	registered, ok := s.services[group]
	if !ok {
		return nil, fmt.Sprintf("unknown service %v", group)
	}
	if m, ok := registered.methods[name]; ok {
		return m, ""
	}
	return nil, fmt.Sprintf("unknown method %v for service %v", name, group)
}

func chainUnaryServer(interceptors []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(interceptors) == 0 {
		return nil
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for _, interceptor := range slices.Backward(interceptors) {
			next := handler
			handler = func(ctx context.Context, req any) (any, error) { return interceptor(ctx, req, info, next) }
		}
		return handler(ctx, req)
	}
}

func chainStreamServer(interceptors []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(interceptors) == 0 {
		return nil
	}
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for _, interceptor := range slices.Backward(interceptors) {
			next := handler
			handler = func(srv any, ss grpc.ServerStream) error { return interceptor(srv, ss, info, next) }
		}
		return handler(srv, ss)
	}
}
