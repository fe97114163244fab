// Package mushroomtest is a mushroom service to test clients with. It offers the methods of the server
// that mushroom's tests run the original with, so that the same clients and recorded exchanges fit both.
package mushroomtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// Bounds of what the service keeps, the newest of each.
const (
	maxEvents = 1000
	maxNotes  = 1000 // of one session
	maxAuth   = 1024 // bytes of what a client authenticated with
)

// Service is the test service. Its methods are called by their names in snake case without "rpc_".
type Service struct {
	// LoseData makes fail_request answer "", as the original does with a request's error that a method
	// passes on; clients made for the original check that.
	LoseData atomic.Bool

	auth    any
	server  *mushroom.Server
	methods mushroom.Dispatcher
	later   sync.WaitGroup // notifications that push_later put off

	// mu guards what follows. A session is asked under it whether it is over, which takes its lock.
	mu     sync.Mutex
	events [][2]any
	notes  map[*mushroom.Session][]json.RawMessage
}

// New makes a server of the service with the options given; the service sets the dispatcher and the
// callbacks. With auth, a client must send a value that is equal.
func New(auth any, opts mushroom.ServerOptions) (*Service, *mushroom.Server, error) {
	s := &Service{auth: auth, notes: make(map[*mushroom.Session][]json.RawMessage)}
	methods, err := mushroom.NewMethods(s, mushroom.DefaultPrefix, "")
	if err != nil {
		return nil, nil, err
	}
	s.methods = methods
	opts.Dispatcher = methods
	opts.Authenticate, opts.Connect, opts.Disconnect = s.authenticate, s.connect, s.disconnect
	s.server, err = mushroom.NewServer(&opts)
	return s, s.server, err
}

// Dispatcher is what the service offers, for sessions that do not come by its server.
func (s *Service) Dispatcher() mushroom.Dispatcher { return s.methods }

func (s *Service) event(name string, detail any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = keep(s.events, [2]any{name, detail}, maxEvents)
}

// keep appends to a list of which only the last most are kept.
func keep[T any](list []T, v T, most int) []T {
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, v)
}

func (s *Service) authenticate(_ *http.Request, _ *mushroom.Session, auth json.RawMessage) error {
	var got any
	if auth != nil {
		if err := json.Unmarshal(auth, &got); err != nil {
			return err
		}
	}
	if len(auth) > maxAuth {
		s.event("authenticate", "too large to be kept")
	} else {
		s.event("authenticate", got)
	}
	if s.auth != nil && !reflect.DeepEqual(got, s.auth) {
		return mushroom.ErrUnauthorized
	}
	return nil
}

func (s *Service) connect(session *mushroom.Session) { s.event("connect", session.Transport()) }

func (s *Service) disconnect(session *mushroom.Session) {
	s.event("disconnect", session.Transport())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.notes, session)
}

// RpcPing answers "pong".
func (s *Service) RpcPing() string { return "pong" }

// RpcEcho answers the data.
func (s *Service) RpcEcho(r *mushroom.Request) json.RawMessage { return r.Data }

// RpcNothing answers null.
func (s *Service) RpcNothing() {}

// RpcSlow answers after so many seconds.
func (s *Service) RpcSlow(ctx context.Context, seconds float64) (string, error) {
	return "slept", sleep(ctx, seconds)
}

func sleep(ctx context.Context, seconds float64) error {
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RpcKind answers what the method sees of its message.
func (s *Service) RpcKind(r *mushroom.Request) []any {
	id, _ := r.ID.Int()
	return []any{r.Kind.String(), id, r.Method}
}

// RpcNote keeps the data with the session.
func (s *Service) RpcNote(r *mushroom.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Session.Err() == nil { // or nobody would ask for it or delete it
		s.notes[r.Session] = keep(s.notes[r.Session], r.Data, maxNotes)
	}
}

// RpcNotes answers what note kept, and forgets it.
func (s *Service) RpcNotes(r *mushroom.Request) []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	notes := append([]json.RawMessage{}, s.notes[r.Session]...)
	delete(s.notes, r.Session)
	return notes
}

// RpcFailPlain fails with an error that is not for the caller.
func (s *Service) RpcFailPlain() error { return errors.New("not shown to the client") }

// RpcFailRPC fails with the data.
func (s *Service) RpcFailRPC(r *mushroom.Request) error { return &mushroom.RPCError{Data: r.Data} }

// RpcFailRequest fails as a request of its own would.
func (s *Service) RpcFailRequest(r *mushroom.Request) error {
	if s.LoseData.Load() {
		return &mushroom.RPCError{Data: ""}
	}
	return &mushroom.RequestError{Method: "other", Data: r.Data}
}

// RpcFailNotFound fails with the name of another method.
func (s *Service) RpcFailNotFound(name string) error {
	return &mushroom.MethodNotFoundError{Name: name}
}

// RpcFailAttribute panics.
func (s *Service) RpcFailAttribute() any {
	var none *mushroom.Session
	return none.ID()
}

// RpcNotCallable stands for what is no method in the original's server.
func (s *Service) RpcNotCallable() error { return errors.New("not callable") }

// RpcMadeResponse answers with a response that names no request.
func (s *Service) RpcMadeResponse() mushroom.Message {
	return mushroom.Message{Kind: mushroom.KindResponse, Data: json.RawMessage(`"by hand"`)}
}

// RpcNamedResponse answers with a response made whole.
func (s *Service) RpcNamedResponse(r *mushroom.Request) mushroom.Message {
	return mushroom.Message{Kind: mushroom.KindResponse, RequestID: r.ID, Data: json.RawMessage(`"named"`)}
}

// RpcUnserializable answers with what is no JSON.
func (s *Service) RpcUnserializable() any { return func() {} }

// list decodes data that is a list of mixed values.
func list(r *mushroom.Request, values ...any) error {
	var items []json.RawMessage
	if err := r.Decode(&items); err != nil {
		return err
	}
	if len(items) != len(values) {
		return &mushroom.RPCError{Data: "Invalid data: wrong length"}
	}
	for i, v := range values {
		if err := json.Unmarshal(items[i], v); err != nil {
			return &mushroom.RPCError{Data: "Invalid data: " + err.Error()}
		}
	}
	return nil
}

func push(s *mushroom.Session, method string, payload json.RawMessage, count int) error {
	for n := range count {
		if err := s.Notify(method, []any{n, payload}); err != nil {
			return err
		}
	}
	return nil
}

// RpcPush sends [method, payload, count] as notifications and answers count.
func (s *Service) RpcPush(r *mushroom.Request) (int, error) {
	var method string
	var payload json.RawMessage
	var count int
	if err := list(r, &method, &payload, &count); err != nil {
		return 0, err
	}
	return count, push(r.Session, method, payload, count)
}

// RpcPushLater is push of [method, payload, count, delay], after the delay.
func (s *Service) RpcPushLater(ctx context.Context, r *mushroom.Request) (string, error) {
	var method string
	var payload json.RawMessage
	var count int
	var delay float64
	if err := list(r, &method, &payload, &count, &delay); err != nil {
		return "", err
	}
	// It ends with the session at the latest.
	s.later.Go(func() {
		if sleep(ctx, delay) == nil {
			_ = push(r.Session, method, payload, count) // the session may be over
		}
	})
	return "soon", nil
}

// RpcAsk sends [method, payload, timeout] to the client as a request and answers what came of it.
func (s *Service) RpcAsk(ctx context.Context, r *mushroom.Request) ([]any, error) {
	var method string
	var payload json.RawMessage
	var timeout float64
	if err := list(r, &method, &payload, &timeout); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout*float64(time.Second)))
	defer cancel()
	result, err := r.Session.Request(ctx, method, payload)
	var failed *mushroom.RequestError
	switch {
	case err == nil:
		return []any{"response", result}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return []any{"timeout"}, nil
	case errors.As(err, &failed):
		return []any{"error", failed.Data}, nil
	}
	return nil, err
}

// RpcBroadcast notifies all sessions and answers how many there are.
func (s *Service) RpcBroadcast(r *mushroom.Request) (int, error) {
	return s.server.Notify("broadcast", r.Data)
}

// RpcWhoami answers the session's id and transport.
func (s *Service) RpcWhoami(r *mushroom.Request) []string {
	return []string{r.Session.ID(), r.Session.Transport()}
}

// RpcUnacked answers the ids of what the client has not acknowledged.
func (s *Service) RpcUnacked(r *mushroom.Request) []int64 { return r.Session.Unacknowledged() }

// RpcSessions answers the number of sessions.
func (s *Service) RpcSessions() int { return s.server.Len() }

// RpcEvents answers what happened to sessions since the last look.
func (s *Service) RpcEvents() [][2]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := slices.Concat([][2]any{}, s.events)
	s.events = nil
	return events
}

// RpcDropMe ends the session.
func (s *Service) RpcDropMe(r *mushroom.Request) (string, error) { return "dropped", r.Session.Close() }

// Wait returns when nothing is put off any more. All sessions must be over.
func (s *Service) Wait() { s.later.Wait() }
