// Package protobuf has a codec of protocol buffers for packet connections, apart from package pconn so that
// only its users depend on protocol buffers:
//
//	conn, err := pconn.New(in, out, &pconn.Options{Codec: protobuf.Codec, Handler: mux})
//	sum, err := pconn.Call[*pb.Numbers, *pb.Sum](ctx, conn, add, &pb.Numbers{Values: values})
package protobuf

import (
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"

	"github.com/packetstream/packetstream/pconn"
)

// Codec turns generated messages to payloads and back, in the binary wire format. The values of
// [pconn.Call] and [pconn.Typed] are pointers to messages, such as *pb.Sum; a nil one is the empty message.
// Anything else is an error. Its methods may be called concurrently.
var Codec pconn.Codec = codec{}

type codec struct{}

func (codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("protobuf: %T is not a message", v)
	}
	return proto.Marshal(m)
}

// Unmarshal takes a message, or a pointer to a message pointer, which it sets to a new message: that is what
// a generic function has of its type.
func (codec) Unmarshal(payload []byte, v any) error {
	if m, ok := v.(proto.Message); ok {
		return proto.Unmarshal(payload, m)
	}
	p := reflect.ValueOf(v)
	if p.Kind() == reflect.Pointer && !p.IsNil() && p.Elem().Kind() == reflect.Pointer {
		fresh := reflect.New(p.Type().Elem().Elem())
		if m, ok := fresh.Interface().(proto.Message); ok {
			p.Elem().Set(fresh)
			return proto.Unmarshal(payload, m)
		}
	}
	return fmt.Errorf("protobuf: %T does not point to a message", v)
}
