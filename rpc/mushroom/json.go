package mushroom

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// splitArray checks that data is one JSON array, in UTF-8 and not nested too deep, and appends the
// text of its elements to dst. The elements share memory with data.
func splitArray(dst [][]byte, data []byte, maxDepth int) ([][]byte, error) {
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
	return elements(dst, data[1:len(data)-1]), nil
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

// elements splits the inside of a valid array at its commas.
func elements(dst [][]byte, inside []byte) [][]byte {
	if len(bytes.TrimSpace(inside)) == 0 {
		return dst
	}
	depth, start := 0, 0
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
				dst = append(dst, bytes.TrimSpace(inside[start:i]))
				start = i + 1
			}
		}
	}
	return append(dst, bytes.TrimSpace(inside[start:]))
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
