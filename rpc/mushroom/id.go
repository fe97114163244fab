package mushroom

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
)

// ID is a message id as it came: an integer, as both this package and the original send, or another
// number or a string, which a foreign peer may use. The zero ID is null. IDs are comparable.
type ID struct {
	kind idKind
	n    int64
	text string // the JSON text of an idFloat, the decoded string of an idText
}

type idKind uint8

const (
	idNull idKind = iota
	idInt
	idFloat
	idText
)

// IntID is the ID of the integer n.
func IntID(n int64) ID { return ID{kind: idInt, n: n} }

// IsNull reports whether the id is null: of a heartbeat, that nothing has arrived yet.
func (id ID) IsNull() bool { return id.kind == idNull }

// Int is the id as an integer, if it is one.
func (id ID) Int() (int64, bool) { return id.n, id.kind == idInt }

// String is the id's JSON text.
func (id ID) String() string { return string(id.append(nil)) }

func (id ID) append(b []byte) []byte {
	switch id.kind {
	case idInt:
		return strconv.AppendInt(b, id.n, 10)
	case idFloat:
		return append(b, id.text...)
	case idText:
		return appendString(b, id.text)
	}
	return append(b, "null"...)
}

// compare orders two ids that are not null. Numbers and strings have no order among each other.
func (id ID) compare(other ID) (int, error) {
	if id.kind == idInt && other.kind == idInt {
		return cmp.Compare(id.n, other.n), nil
	}
	if (id.kind == idText) != (other.kind == idText) {
		return 0, badMessage("message id %v beside %v", id, other)
	}
	if id.kind == idText {
		return cmp.Compare(id.text, other.text), nil
	}
	return cmp.Compare(id.float(), other.float()), nil
}

func (id ID) float() float64 {
	if id.kind == idInt {
		return float64(id.n)
	}
	f, _ := strconv.ParseFloat(id.text, 64) // checked by parseID
	return f
}

// parseID takes a number, a string or null from valid JSON.
func parseID(data []byte) (ID, error) {
	if len(data) > maxIDText {
		return ID{}, badMessage("message id of %d bytes, at most %d are allowed", len(data), maxIDText)
	}
	switch data[0] {
	case 'n':
		return ID{}, nil
	case '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return ID{}, badMessage("message id %s: %v", data, err)
		}
		return ID{kind: idText, text: text}, nil
	case 't', 'f', '[', '{':
		return ID{}, badMessage("message id %s is no number", data)
	}
	if n, err := strconv.ParseInt(string(data), 10, 64); err == nil {
		return IntID(n), nil
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || math.IsInf(f, 0) {
		return ID{}, badMessage("message id %s is out of range", data)
	}
	return ID{kind: idFloat, text: string(data)}, nil
}
