package grpclinks

import (
	"bytes"
	"io"
	"math"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the default codec
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/packetstream/packetstream/internal/reuse"
	"github.com/packetstream/packetstream/rpc/links"
)

// codec is what encoding.CodecV2 and the older kinds have in common here.
type codec interface {
	Marshal(any) (mem.BufferSlice, error)
	Unmarshal(mem.BufferSlice, any) error
}

// registeredCodec finds a codec by content-subtype, nil if there is none.
func registeredCodec(name string) codec {
	if c := encoding.GetCodecV2(name); c != nil {
		if isPlainProto(c) {
			return protoCodec{c}
		}
		return c
	}
	if c := encoding.GetCodec(name); c != nil {
		return bytesCodec{c}
	}
	return nil
}

// protoCodec is grpc-go's own codec for protobuf messages, where no other was registered under its name. Messages go without the memory
// that its buffers take around them, and without its pool, which clears up to sixteen times what a message needs before each use.
type protoCodec struct{ codec }

func isPlainProto(c encoding.CodecV2) bool {
	t := reflect.TypeOf(c)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "google.golang.org/grpc/encoding/proto"
}

// marshal is Marshal into memory that the payload gives back when it is freed, and says whether the message was one for it.
func (protoCodec) marshal(v any, limit int, memory *reuse.Buffers) (p *links.Payload, ok bool, err error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, false, nil
	}
	size := proto.Size(message)
	if size > reuse.MaxSize {
		return nil, false, nil
	}
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(memory.Take(size), message)
	switch {
	case err != nil:
		return nil, true, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	case len(data) > limit:
		memory.GiveBack(data)
		return nil, true, tooLargeToSend(len(data), limit)
	case size < reuse.MinSize:
		return links.NewPayload(data, nil), true, nil
	}
	return links.NewPayload(data, func() { memory.GiveBack(data) }), true, nil
}

// unmarshal is Unmarshal for a message that can be read from its bytes, and says whether it was. It keeps nothing of them.
func (protoCodec) unmarshal(data []byte, v any) (ok bool, err error) {
	message, ok := v.(proto.Message)
	if !ok {
		return false, nil
	}
	return true, proto.Unmarshal(data, message)
}

// bytesCodec is a codec of the first kind, or of the one before it.
type bytesCodec struct {
	codec interface {
		Marshal(any) ([]byte, error)
		Unmarshal([]byte, any) error
	}
}

func (c bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := c.codec.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (c bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return c.codec.Unmarshal(data.Materialize(), v)
}

// format is how the messages of a call are written. A call with a name for its compressor has a byte before each message.
type format struct {
	codec      codec
	name       string
	compressor encoding.Compressor
	memory     *reuse.Buffers // of messages on their way out
	serves     bool           // it is the server's
}

// sizes of a message, for stats handlers: encoded, compressed, and as it travels.
type sizes struct{ length, compressed, wire int }

// encode makes a payload of a message.
func (f *format) encode(message any, limit int) (*links.Payload, sizes, error) {
	if _, ok := message.(*grpc.PreparedMsg); ok {
		return nil, sizes{}, status.Error(codes.Internal, "grpclinks: a PreparedMsg belongs to grpc-go's own transport")
	}
	if plain, ok := f.codec.(protoCodec); ok && f.name == "" && message != nil {
		if p, ok, err := plain.marshal(message, limit, f.memory); ok {
			return p, plainSizes(p), err
		}
	}
	var data mem.BufferSlice
	if message != nil {
		var err error
		if data, err = f.codec.Marshal(message); err != nil {
			return nil, sizes{}, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
		}
	}
	length := data.Len()
	if f.name == "" {
		if length > limit {
			data.Free()
			return nil, sizes{}, tooLargeToSend(length, limit)
		}
		return payloadOf(data), sizes{length, length, length}, nil
	}
	defer data.Free()
	packed, err := f.pack(data)
	if err != nil {
		return nil, sizes{}, status.Errorf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	if len(packed)-1 > limit {
		return nil, sizes{}, tooLargeToSend(len(packed)-1, limit)
	}
	return links.NewPayload(packed, nil), sizes{length, len(packed) - 1, len(packed)}, nil
}

// plainSizes are those of a payload that travels as it was encoded.
func plainSizes(p *links.Payload) sizes {
	if p == nil {
		return sizes{}
	}
	return sizes{p.Size(), p.Size(), p.Size()}
}

func tooLargeToSend(size, limit int) error {
	return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", size, limit)
}

func tooLargeToReceive(size, limit int) error {
	return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", size, limit)
}

// payloadOf hands the codec's memory to the link, which frees it when it is written.
func payloadOf(data mem.BufferSlice) *links.Payload {
	switch len(data) {
	case 0:
		return links.NewPayload(nil, nil)
	case 1:
		if plain, ok := data[0].(mem.SliceBuffer); ok {
			return links.NewPayload(plain, nil)
		}
		return links.NewPayload(data[0].ReadOnlyData(), data.Free)
	}
	defer data.Free()
	return links.NewPayload(data.Materialize(), nil)
}

// pack compresses a message that has any bytes, and says so in its first byte.
func (f *format) pack(data mem.BufferSlice) ([]byte, error) {
	var out bytes.Buffer
	if f.compressor == nil || data.Len() == 0 {
		out.WriteByte(0)
		out.Write(data.Materialize())
		return out.Bytes(), nil
	}
	out.WriteByte(1)
	w, err := f.compressor.Compress(&out)
	if err != nil {
		return nil, err
	}
	for _, buffer := range data {
		if _, err := w.Write(buffer.ReadOnlyData()); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// decode reads a payload into message, and frees it.
func (f *format) decode(p *links.Payload, message any, limit int) (sizes, error) {
	data, s, err := f.unpack(p, limit)
	if err != nil {
		p.Free()
		return s, err
	}
	if plain, ok := f.codec.(protoCodec); ok {
		var done bool
		if done, err = plain.unmarshal(data, message); done {
			p.Free()
			return s, unmarshalError(err)
		}
	}
	if len(data) < countedSize {
		err = f.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, message)
		p.Free()
	} else {
		err = f.unmarshalCounted(p, data, message)
	}
	return s, unmarshalError(err)
}

func unmarshalError(err error) error {
	if err == nil {
		return nil
	}
	return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
}

// unmarshalCounted lets the codec keep the message beyond the call, by a reference: its memory is used again once there is none.
func (f *format) unmarshalCounted(p *links.Payload, data []byte, message any) error {
	buffer := mem.NewBuffer(&data, payloadPool{p})
	defer buffer.Free()
	return f.codec.Unmarshal(mem.BufferSlice{buffer}, message)
}

// payloadPool frees the payload when the last reference to its memory is given back.
type payloadPool struct{ payload *links.Payload }

func (payloadPool) Get(size int) *[]byte { // of mem.BufferPool; nobody asks a payload for memory
	b := make([]byte, size)
	return &b
}

func (p payloadPool) Put(*[]byte) { p.payload.Free() }

// unpack returns the encoded message. The limit counts for what travelled and for what that becomes.
func (f *format) unpack(p *links.Payload, limit int) ([]byte, sizes, error) {
	data, size := p.Bytes(), p.Size()
	s := sizes{wire: size}
	if f.name != "" {
		size--
	}
	if p.TooLarge() || size > limit {
		return nil, s, tooLargeToReceive(size, limit)
	}
	if f.name != "" {
		if len(data) == 0 || data[0] > 1 {
			return nil, s, status.Error(codes.Internal, "grpclinks: message without a word about its compression")
		}
		compressed := data[0] == 1
		data = data[1:]
		s.compressed = len(data)
		if compressed {
			var err error
			if data, err = f.decompress(data, limit); err != nil {
				return nil, s, err
			}
		}
	} else {
		s.compressed = len(data)
	}
	s.length = len(data)
	return data, s, nil
}

func (f *format) decompress(data []byte, limit int) ([]byte, error) {
	if f.compressor == nil {
		code := codes.Internal
		if f.serves {
			code = codes.Unimplemented // as in grpc-go
		}
		return nil, status.Errorf(code, "grpc: Decompressor is not installed for grpc-encoding %q", f.name)
	}
	r, err := f.compressor.Decompress(bytes.NewReader(data))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	if closer, ok := r.(io.Closer); ok {
		defer closer.Close()
	}
	if limit < math.MaxInt {
		r = io.LimitReader(r, int64(limit)+1)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to read decompressed data: %v", err)
	}
	if len(out) > limit {
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", limit)
	}
	return out, nil
}
