package mushroom

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
)

// Request is a notification or request as its handler sees it: the message, and the session it came
// by. The same handlers serve both kinds; what a handler returns for a notification is dropped. A
// Request is not changed after the handler got it, and may be kept.
type Request struct {
	Message
	Session *Session
}

// Decode reads the request's data into v as json.Unmarshal does. Its error, returned by the handler,
// tells the caller what is wrong with the data.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(orNull(r.Data), v); err != nil {
		return &RPCError{Data: fmt.Sprintf("Invalid data: %v", err)}
	}
	return nil
}

// Dispatcher finds and runs the method that a request names. It is called concurrently, with a context
// that ends with the session. The result is written as JSON; a result that is a Message of kind
// Response or Error is sent as it is, under the next id. A *RPCError's data, a *RequestError's data and
// a *MethodNotFoundError's name go to the caller; of all other errors it hears "Internal server error".
type Dispatcher interface {
	Dispatch(ctx context.Context, r *Request) (result any, err error)
}

// HandlerFunc is one method. It is also a Dispatcher that runs every method itself.
type HandlerFunc func(ctx context.Context, r *Request) (any, error)

// Dispatch calls the function.
func (f HandlerFunc) Dispatch(ctx context.Context, r *Request) (any, error) { return f(ctx, r) }

// NoMethods is a dispatcher that finds nothing. It is what a nil Dispatcher stands for.
type NoMethods struct{}

// Dispatch returns a *MethodNotFoundError.
func (NoMethods) Dispatch(_ context.Context, r *Request) (any, error) {
	return nil, &MethodNotFoundError{Name: r.Method}
}

// Registry is a dispatcher of functions under names. The zero value is empty and ready. It may be used
// concurrently.
type Registry struct {
	// mu guards methods.
	mu      sync.RWMutex
	methods map[string]HandlerFunc
}

// Register offers a function under a name. A name that is taken is an error.
func (g *Registry) Register(name string, f HandlerFunc) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.methods[name]; ok {
		return fmt.Errorf("mushroom: method %q is already registered", name)
	}
	if g.methods == nil {
		g.methods = make(map[string]HandlerFunc)
	}
	g.methods[name] = f
	return nil
}

// Dispatch runs the function of the request's method.
func (g *Registry) Dispatch(ctx context.Context, r *Request) (any, error) {
	g.mu.RLock()
	f, ok := g.methods[r.Method]
	g.mu.RUnlock()
	if !ok {
		return nil, &MethodNotFoundError{Name: r.Method}
	}
	return f(ctx, r)
}

// Func makes a handler of a function with typed data and result. Data of another shape is answered
// with an error that says so.
func Func[In, Out any](f func(ctx context.Context, in In) (Out, error)) HandlerFunc {
	return func(ctx context.Context, r *Request) (any, error) {
		var in In
		if err := r.Decode(&in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

// Call makes a request and reads its answer into a value of type Out. Errors are those of
// Session.Request, and that of json.Unmarshal for an answer of another shape.
func Call[Out any](ctx context.Context, s *Session, method string, data any) (out Out, err error) {
	answer, err := s.Request(ctx, method, data)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("mushroom: answer to %q: %w", method, err)
	}
	return out, nil
}
