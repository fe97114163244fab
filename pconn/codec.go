package pconn

import (
	"encoding"
	"encoding/json"
	"fmt"
)

// Codec turns values to payloads and back, for Call and Typed. Its methods may be called
// concurrently. Package pconn/protobuf has one for protocol buffers.
type Codec interface {
	// Marshal returns v's payload.
	Marshal(v any) ([]byte, error)
	// Unmarshal sets what v points to from a payload, which it may keep.
	Unmarshal(payload []byte, v any) error
}

// JSON is the Codec that a connection has by default.
var JSON Codec = jsonCodec{}

// Raw is a Codec whose values are their payloads: []byte, string, and what implements
// encoding.BinaryMarshaler and BinaryUnmarshaler.
var Raw Codec = rawCodec{}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec) Unmarshal(payload []byte, v any) error { return json.Unmarshal(payload, v) }

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	case encoding.BinaryMarshaler:
		return v.MarshalBinary()
	}
	return nil, fmt.Errorf("pconn: the raw codec does not take %T", v)
}

func (rawCodec) Unmarshal(payload []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = payload
		return nil
	case *string:
		*v = string(payload)
		return nil
	case encoding.BinaryUnmarshaler:
		return v.UnmarshalBinary(payload)
	}
	return fmt.Errorf("pconn: the raw codec does not take %T", v)
}
