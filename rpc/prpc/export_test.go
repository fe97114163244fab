package prpc

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tinylib/msgp/msgp"
)

// WithIDs returns options whose connection ids come from next.
func WithIDs(o Options, next func() string) *Options {
	o.newID = next
	return &o
}

// Reencode parses a message and builds it again with the encoders that the connection uses.
func Reencode(b []byte) ([]byte, MessageType, error) {
	limits, err := Limits{}.withDefaults()
	if err != nil {
		return nil, 0, err
	}
	m, err := parseMessage(b, &limits)
	if err != nil {
		return nil, 0, err
	}
	out, err := m.encode()
	return out, m.kind, err
}

func (m *message) encode() ([]byte, error) {
	switch m.kind {
	case RequestHandshake, ResponseHandshake:
		connID, _ := m.handshake.connID.(string)
		b, err := appendHandshake(head(nil, m.kind, m.id), connID, m.handshake.data)
		if err != nil || m.kind == RequestHandshake {
			return b, err
		}
		return append(b, byte(StatusSuccess), 0xc0), nil
	case RequestCallStart:
		return m.encodeCallStart()
	case RequestStreamMessage, ResponseStreamMessage:
		v, _, err := decodeAny(m.data)
		if err != nil {
			return nil, err
		}
		return appendStreamMessage(nil, m.kind, m.id, v)
	case ResponseResult:
		return m.encodeResult()
	default:
		return head(nil, m.kind, m.id), nil
	}
}

func (m *message) encodeCallStart() ([]byte, error) {
	r := Request{args: m.args, keywords: m.keywords}
	r.method, _ = methodText(m.method)
	args, err := r.Args()
	if err != nil {
		return nil, err
	}
	keywords, err := r.Keywords()
	if err != nil {
		return nil, err
	}
	return appendCallStart(nil, m.id, m.callType, r.Method(), args, keywords)
}

func (m *message) encodeResult() ([]byte, error) {
	if m.status == StatusSuccess {
		packed, _, err := msgp.ReadBytesZC(m.result)
		if err != nil {
			return nil, err
		}
		v, _, err := decodeAny(packed)
		if err != nil {
			return nil, err
		}
		return appendResult(nil, m.id, v)
	}
	f := wireFault{message: m.fault.message}
	for field, text := range map[**string]*string{
		&f.causeType: &m.fault.causeType, &f.causeText: &m.fault.causeText, &f.trace: &m.fault.trace,
	} {
		if *text != "" {
			*field = text
		}
	}
	// The vectors tell empty texts from nil only in these two answers.
	if f.message != "callee stream buffer is full" && f.causeType == nil {
		empty := ""
		f.causeType, f.causeText = &empty, &empty
	}
	return appendFailure(nil, m.id, m.status, f), nil
}

// Encode and Decode are the value codec.
func Encode(v any) ([]byte, error) { return appendValue(nil, v) }

// Decode checks and decodes a value.
func Decode(b []byte, limits Limits, target any) error {
	filled, err := limits.withDefaults()
	if err != nil {
		return err
	}
	if err := scan(b, &filled); err != nil {
		return err
	}
	return decodeTo(b, target)
}

// Parse checks a message.
func Parse(b []byte, limits Limits) error {
	filled, err := limits.withDefaults()
	if err != nil {
		return err
	}
	m, err := parseMessage(b, &filled)
	if err == nil {
		_ = fmt.Sprint(m.id.value())
	}
	return err
}

// TryConnState, TryCallState and TryStreamState change a state along its table.
func TryConnState(from, to ConnState) (ConnState, bool) {
	m := machine[ConnState]{from}
	ok := m.to(to)
	return m.now, ok
}

func TryCallState(from, to CallState) (CallState, bool) {
	m := machine[CallState]{from}
	ok := m.to(to)
	return m.now, ok
}

func TryStreamState(from, to StreamState) (StreamState, bool) {
	m := machine[StreamState]{from}
	ok := m.to(to)
	return m.now, ok
}

// AcceptWebSocket and DialWebSocket make the carriers of Server and Dial.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, limit int) (Carrier, error) {
	return acceptWebSocket(w, r, &WebSocketOptions{}, limit)
}

func DialWebSocket(ctx context.Context, url string, limit int) (Carrier, error) {
	return dialWebSocket(ctx, url, &WebSocketOptions{PingAfter: -1}, limit)
}

// DialWebSocketWith is DialWebSocket with another HTTP client.
func DialWebSocketWith(ctx context.Context, url string, client *http.Client) (Carrier, error) {
	return dialWebSocket(ctx, url, &WebSocketOptions{PingAfter: -1, HTTPClient: client}, 1<<20)
}

// ShortSize is the size of a value that cut finds by its first bytes, else 0.
func ShortSize(b []byte) int {
	switch f, n := shortForm(b); {
	case f == formLong:
		return 0
	case f != formList && f != formMap:
		return n
	case n == 0:
		return 1
	default:
		return 0
	}
}

// ScalarSize is the size of a value that is a scalar of a short form, else 0.
func ScalarSize(b []byte) int {
	if f, n := shortForm(b); f == formScalar {
		return n
	}
	return 0
}
