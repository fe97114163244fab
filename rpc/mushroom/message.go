package mushroom

import (
	"encoding/json"
	"strconv"
)

// Kind says what a message is. Its value is the code on the wire.
type Kind int

// The kinds of messages.
const (
	KindDisconnect   Kind = -1
	KindHeartbeat    Kind = 0
	KindNotification Kind = 1
	KindRequest      Kind = 2
	KindResponse     Kind = 3
	KindError        Kind = 4
)

var kindNames = map[Kind]string{
	KindDisconnect: "Disconnect", KindHeartbeat: "Heartbeat", KindNotification: "Notification",
	KindRequest: "Request", KindResponse: "Response", KindError: "Error",
}

// String is the kind's name.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// numbered reports whether messages of this kind have an id, and so are acknowledged and resent.
func (k Kind) numbered() bool { return k >= KindNotification && k <= KindError }

// Message is one message. Which fields count depends on its kind; see the package comment.
type Message struct {
	Kind Kind
	// ID is the message's own id; of a heartbeat, the id of the last message taken.
	ID ID
	// Method is the name in a notification or request. If the peer sent something else than a text in
	// its place, Method is empty and BadMethod holds what came; such a request can only fail.
	Method    string
	BadMethod json.RawMessage
	// RequestID is the id of the request that a response or error answers.
	RequestID ID
	// Data is any JSON value; nil is null.
	Data json.RawMessage
}

// ParseMessage reads one message. It keeps no reference to data. Errors are ErrBadMessage. Data may be
// nested up to the default of Limits.MaxDepth.
func ParseMessage(data []byte) (Message, error) {
	limits, _ := Limits{}.withDefaults()
	return parseMessage(append([]byte(nil), data...), limits.MaxDepth)
}

// parseMessage makes a message that shares memory with data.
func parseMessage(data []byte, maxDepth int) (Message, error) {
	inside, err := openArray(data, maxDepth)
	if err != nil {
		return Message{}, err
	}
	var space [5][]byte // one more than any message has
	list := space[:0]
	for len(inside) > 0 && len(list) < len(space) {
		var element []byte
		element, inside = nextElement(inside)
		list = append(list, element)
	}
	if len(list) == 0 {
		return Message{}, badMessage("empty array")
	}
	kind, err := parseKind(list[0])
	if err != nil {
		return Message{}, err
	}
	m := Message{Kind: kind}
	switch {
	case kind == KindDisconnect:
		return m, nil
	case kind == KindHeartbeat:
		if len(list) < 2 {
			return Message{}, badMessage("%v without an id", kind)
		}
		m.ID, err = parseID(list[1])
		return m, err
	case len(list) < 3 || len(list) > 4:
		return Message{}, badMessage("%v of fewer than 3 or more than 4 elements", kind)
	}
	return m, m.parseNumbered(list)
}

func (m *Message) parseNumbered(list [][]byte) (err error) {
	if m.ID, err = parseID(list[1]); err != nil {
		return err
	}
	if m.ID.IsNull() {
		return badMessage("%v with id null", m.Kind)
	}
	if m.Kind == KindNotification || m.Kind == KindRequest {
		err = m.parseMethod(list[2])
	} else {
		m.RequestID, err = parseID(list[2])
	}
	if err == nil && len(list) == 4 && string(list[3]) != "null" {
		m.Data = list[3]
	}
	return err
}

func (m *Message) parseMethod(text []byte) error {
	if text[0] != '"' {
		m.BadMethod = text
		return nil
	}
	if err := json.Unmarshal(text, &m.Method); err != nil {
		return badMessage("method %s: %v", text, err)
	}
	return nil
}

// parseKind takes the code. The original compares it as Python does, where 1.0 and true equal 1.
func parseKind(text []byte) (Kind, error) {
	switch string(text) {
	case "true":
		return KindNotification, nil
	case "false":
		return KindHeartbeat, nil
	}
	code, err := strconv.ParseFloat(string(text), 64)
	kind := Kind(code)
	if err != nil || float64(kind) != code || kind < KindDisconnect || kind > KindError {
		return 0, badMessage("unknown code %.20s", text)
	}
	return kind, nil
}

// MarshalJSON writes the message as its array.
func (m Message) MarshalJSON() ([]byte, error) { return m.append(nil), nil }

// UnmarshalJSON is ParseMessage.
func (m *Message) UnmarshalJSON(data []byte) (err error) {
	*m, err = ParseMessage(data)
	return err
}

// append writes the message, whose data is valid JSON, as its array.
func (m Message) append(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(m.Kind), 10)
	if m.Kind != KindDisconnect {
		b = m.ID.append(append(b, ','))
	}
	if m.Kind.numbered() {
		b = append(b, ',')
		switch {
		case m.Kind == KindResponse || m.Kind == KindError:
			b = m.RequestID.append(b)
		case m.BadMethod != nil:
			b = append(b, m.BadMethod...)
		default:
			b = appendString(b, m.Method)
		}
		b = append(b, ',')
		if m.Data == nil {
			b = append(b, "null"...)
		} else {
			b = append(b, m.Data...)
		}
	}
	return append(b, ']')
}
