package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// application does what the library's application did, on a connection.
type application struct {
	ctx     context.Context // ends with the replay
	conn    *pconn.Conn
	recvEOF chan struct{} // closed by the connection's notification

	mu       sync.Mutex // guards the rest
	results  map[string]*pconn.Result
	notified []string
}

// open makes the connection. Its options are the reference's: four handlers at a time.
func (a *application) open(in *bufio.Input, out *bufio.Output, h pconn.Handler, ext pconn.Extensions) (err error) {
	a.results = make(map[string]*pconn.Result)
	a.recvEOF = make(chan struct{})
	a.conn, err = pconn.New(in, out, &pconn.Options{
		Handler: h, MaxHandlers: 4, Extensions: ext,
		OnRecvEOF: func(*pconn.Conn) { a.notify("recv_eof"); close(a.recvEOF) },
		OnSendEOF: func(*pconn.Conn) { a.notify("send_eof") },
	})
	return err
}

func (a *application) notify(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notified = append(a.notified, what)
}

// notifications are the names of those that came, sorted.
func (a *application) notifications() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.notified)
	return strings.Join(a.notified, " ")
}

// noticing is a context that calls waits when somebody waits for its end.
type noticing struct {
	context.Context
	waits func()
}

func (c *noticing) Done() <-chan struct{} {
	c.waits()
	return c.Context.Done()
}

// perform does one operation and says what became of it. It calls waits as soon as a close has begun and is waiting.
func (a *application) perform(ev *event, waits func()) string {
	switch ev.Op {
	case "submit":
		return a.submit(ev)
	case "collect":
		r := a.result(ev)
		if r == nil {
			return "error no such request"
		}
		return a.collect(r)
	case "cancel":
		a.result(ev).Cancel()
		return "returned"
	case "state":
		return a.state(a.result(ev))
	case "close":
		return returned(a.conn.Shutdown(&noticing{Context: context.Background(), waits: waits}))
	case "join_recv":
		<-a.recvEOF
		return "returned"
	}
	return "error no such operation: " + ev.Op
}

func (a *application) result(ev *event) *pconn.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.results[string(ev.Key)]
}

// decoded is what a decode made of a response.
type decoded struct {
	flags uint64
	value string
}

var errDecode = errors.New("cannot decode")

func (a *application) submit(ev *event) string {
	typ, err := strconv.ParseInt(string(ev.RqType), 10, 64)
	if err != nil {
		return "error " + err.Error()
	}
	// -1 becomes the one type that Go's numbers have and the wire has not.
	req := pconn.Request{Type: uint64(typ), Flags: ev.Flags, Payload: ev.Payload, Channel: ev.Channel}
	switch ev.Decode {
	case "int":
		req.Decode = func(r pconn.Response) (any, error) {
			n, err := strconv.Atoi(string(r.Payload))
			return decoded{r.Flags, strconv.Itoa(n)}, err
		}
	case "bad":
		req.Decode = func(pconn.Response) (any, error) { return nil, errDecode }
	}
	r, err := a.conn.Submit(a.ctx, req)
	if err != nil {
		return returned(err)
	}
	a.mu.Lock()
	a.results[string(ev.Key)] = r
	a.mu.Unlock()
	if ev.Channel != 0 {
		// The reference refuses a channel before it sends; here it is the peer who does.
		_, err = r.Wait(a.ctx)
	}
	return returned(err)
}

func (a *application) collect(r *pconn.Result) string {
	v, err := r.Value(a.ctx)
	var remote *pconn.RemoteError
	switch {
	case errors.As(err, &remote):
		resp, _ := r.Wait(a.ctx)
		return response(resp.OK, resp.Flags, fmt.Sprintf("%x", resp.Payload))
	case err != nil:
		return returned(err)
	}
	if d, ok := v.(decoded); ok {
		return response(true, d.flags, d.value)
	}
	resp := v.(pconn.Response)
	return response(resp.OK, resp.Flags, fmt.Sprintf("%x", resp.Payload))
}

func response(ok bool, flags uint64, payload string) string {
	return fmt.Sprintf("ok=%v flags=%d %s", ok, flags, payload)
}

// state names a Result's state as the reference does.
func (a *application) state(r *pconn.Result) string {
	select {
	case <-r.Done():
	default:
		return "PENDING"
	}
	if _, err := r.Wait(a.ctx); err != nil {
		return "CANCELLED"
	}
	return "DONE"
}

// returned is an operation's outcome, its error by kind.
func returned(err error) string {
	var perr *pconn.ProtocolError
	switch {
	case err == nil:
		return "returned"
	case errors.As(err, &perr):
		return "error protocol: " + perr.Reason
	case errors.Is(err, pconn.ErrCancelled):
		return "error cancelled"
	case errors.Is(err, pconn.ErrClosed), errors.Is(err, pconn.ErrDraining):
		return "error closed"
	case errors.Is(err, pconn.ErrPeerClosed):
		return "error closed by the peer"
	case errors.Is(err, pconn.ErrPeerGone):
		return "error peer gone"
	case errors.Is(err, pconn.ErrUnknownChannel):
		return "error unknown channel"
	case errors.Is(err, pconn.ErrType):
		return "error request type"
	case errors.Is(err, errDecode):
		return "error cannot decode"
	}
	return "error " + err.Error()
}

// String gives a recorded outcome the form of ours.
func (o *outcome) String() string {
	switch {
	case o == nil:
		return ""
	case o.Hang != "":
		return "hang"
	case o.Raised == "CancellationError":
		return "error cancelled"
	case o.Raised == "ClosedError":
		return "error closed"
	case o.Raised == "KeyError":
		return "error no such request"
	case strings.HasPrefix(o.Text, "unknown channel"):
		return "error unknown channel"
	case strings.HasPrefix(o.Text, "rq_type may not be negative"):
		return "error request type"
	case o.Raised != "":
		return "error " + o.Text
	case o.OK != nil:
		return response(*o.OK, o.Flags, o.Payload)
	case o.RecvFDOpen != nil:
		return openFDs(*o.RecvFDOpen, *o.SendFDOpen)
	case o.Returned != nil && isState(*o.Returned):
		return *o.Returned
	}
	return "returned"
}

func isState(s string) bool { return s == "PENDING" || s == "DONE" || s == "CANCELLED" }

func openFDs(in, out bool) string {
	return fmt.Sprintf("receiving open: %v, sending open: %v", in, out)
}

// fields are the recorded internals by name; tags of the library's own requests are their numbers.
func (n *internals) fields(own tags) map[string]string {
	pending := []int{}
	for _, p := range n.Pending {
		pending = append(pending, own.number(json.Number(strconv.FormatUint(p[1], 10))))
	}
	return fieldsOf(*n.Sent, n.TagsInUse, pending, n.Counts, n.MaxRunning)
}

func fieldsOf(sent int, inUse []uint64, pending []int, counts map[string]int, maxRunning int) map[string]string {
	return map[string]string{
		"packets sent":     fmt.Sprint(sent),
		"tags in use":      fmt.Sprint(inUse),
		"requests pending": fmt.Sprint(pending),
		"requests served":  fmt.Sprint(counts),
		"handlers at once": fmt.Sprint(maxRunning),
	}
}
