package mushroom

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// openArray checks that data is one JSON array, in UTF-8 and not nested too deep, and returns what
// is between its brackets, for nextElement. A list of its elements would be many times as large as data.
func openArray(data []byte, maxDepth int) (inside []byte, err error) {
	if !utf8.Valid(data) {
		return nil, badMessage("text is not UTF-8")
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '[' {
		return nil, badMessage("%.20q is no array", data)
	}
	// Depth comes first: encoding/json has a bound of its own, far above ours.
	if depth := nesting(data); depth > maxDepth {
		return nil, badMessage("nested %d deep, at most %d is allowed", depth, maxDepth)
	}
	if !json.Valid(data) {
		return nil, badMessage("%.20q is no JSON", data)
	}
	return bytes.TrimSpace(data[1 : len(data)-1]), nil
}

// nesting counts how deep brackets go outside of strings. The data need not be valid.
func nesting(data []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i)
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth--
		}
	}
	return deepest
}

// nextElement takes the first element off the inside of a valid array that is not empty. It shares
// memory with inside. After the last element the rest is empty.
func nextElement(inside []byte) (element, rest []byte) {
	depth := 0
	for i := 0; i < len(inside); i++ {
		switch inside[i] {
		case '"':
			i = stringEnd(inside, i)
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return bytes.TrimSpace(inside[:i]), inside[i+1:]
			}
		}
	}
	return bytes.TrimSpace(inside), nil
}

// stringEnd is the index of the quote that ends the string begun at data[start], or the last index.
func stringEnd(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(data) - 1
}

// encode writes data as JSON without the escapes for HTML. nil and an empty RawMessage are null.
func encode(data any) (json.RawMessage, error) {
	switch data := data.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		if len(data) == 0 {
			return nil, nil
		}
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			text, _ := encode(s) // a string can always be encoded
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
