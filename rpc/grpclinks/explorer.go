package grpclinks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Explorer calls services of which it learns from their reflection service, with JSON in and out: what a command line needs. Its methods may be
// called concurrently. Their errors are statuses where the peer has answered.
type Explorer struct{ cc grpc.ClientConnInterface }

// NewExplorer makes an explorer of what cc calls.
func NewExplorer(cc grpc.ClientConnInterface) *Explorer { return &Explorer{cc} }

// InputError is input that does not fit the method that is called.
type InputError struct{ Reason string }

func (e *InputError) Error() string { return e.Reason }

func badInput(format string, args ...any) error { return &InputError{fmt.Sprintf(format, args...)} }

// Refused says whether an error of a call is a status, whoever it is from.
func Refused(err error) bool {
	_, ok := status.FromError(err)
	return err != nil && ok
}

// WithHeaders returns a context whose calls carry each KEY:VALUE as metadata, or an *InputError.
func WithHeaders(ctx context.Context, headers []string) (context.Context, error) {
	for _, header := range headers {
		key, value, ok := strings.Cut(header, ":")
		if !ok {
			return nil, badInput("a header is KEY:VALUE, got %q", header)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return ctx, nil
}

// Services lists what is served.
func (e *Explorer) Services(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newSchema(ctx, e.cc)
	if err != nil {
		return nil, err
	}
	names, err := s.services()
	if err != nil {
		return nil, err
	}
	return names, s.close()
}

// Describe writes a service, method, message or enum as it could stand in a .proto file.
func (e *Explorer) Describe(ctx context.Context, w io.Writer, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newSchema(ctx, e.cc)
	if err != nil {
		return err
	}
	descriptor, _, err := s.find(strings.ReplaceAll(name, "/", "."))
	if err != nil {
		return err
	}
	describe(w, descriptor)
	return s.close()
}

// Call calls a method, named SERVICE/METHOD, with each JSON object of in as a message, and writes each message of the answer as a line of JSON.
// A method that takes one message is sent an empty one if there is none. The outgoing metadata is the context's. What in has wrong is an
// *InputError. It returns when the call has ended, even if in still waits.
func (e *Explorer) Call(ctx context.Context, path string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newSchema(ctx, e.cc)
	if err != nil {
		return err
	}
	path = strings.TrimPrefix(path, "/")
	descriptor, files, err := s.find(strings.ReplaceAll(path, "/", "."))
	if err != nil {
		return err
	}
	method, ok := descriptor.(protoreflect.MethodDescriptor)
	if !ok {
		return badInput("%s is no method", path)
	}
	if err := s.close(); err != nil {
		return err
	}
	types := dynamicpb.NewTypes(files)
	desc := &grpc.StreamDesc{ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer()}
	stream, err := e.cc.NewStream(ctx, desc, fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name()))
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends with the input or the call; what it says counts only if the call does not say more
		err := sendJSON(stream, method, types, in)
		sent <- err
		if err != nil {
			cancel()
		}
	}()
	err = receiveJSON(stream, method, types, out)
	select {
	case sendErr := <-sent:
		if sendErr != nil {
			return sendErr
		}
	default: // it still waits for input that nobody needs any more
	}
	return err
}

// sendJSON sends what it reads, and of a method that takes one message nothing before it is known that there is no other.
func sendJSON(stream grpc.ClientStream, method protoreflect.MethodDescriptor, types *dynamicpb.Types, in io.Reader) error {
	decoder := json.NewDecoder(in)
	if !method.IsStreamingClient() {
		message, err := nextMessage(decoder, method, types)
		if err == io.EOF {
			message = dynamicpb.NewMessage(method.Input())
		} else if err != nil {
			return err
		} else if _, err := nextMessage(decoder, method, types); err != io.EOF {
			return badInput("%s takes one message", method.FullName())
		}
		_ = stream.SendMsg(message) // receiving tells why not
		return nil
	}
	for {
		message, err := nextMessage(decoder, method, types)
		if err == io.EOF {
			return stream.CloseSend()
		}
		if err != nil {
			return err
		}
		if stream.SendMsg(message) != nil {
			return nil // receiving tells why
		}
	}
}

func nextMessage(decoder *json.Decoder, method protoreflect.MethodDescriptor, types *dynamicpb.Types) (*dynamicpb.Message, error) {
	var object json.RawMessage
	err := decoder.Decode(&object)
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, badInput("the messages are not JSON: %v", err)
	}
	message := dynamicpb.NewMessage(method.Input())
	if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal(object, message); err != nil {
		return nil, badInput("not a %s: %v", method.Input().FullName(), err)
	}
	return message, nil
}

func receiveJSON(stream grpc.ClientStream, method protoreflect.MethodDescriptor, types *dynamicpb.Types, w io.Writer) error {
	out := bufio.NewWriter(w)
	for {
		message := dynamicpb.NewMessage(method.Output())
		if err := stream.RecvMsg(message); err != nil {
			if err == io.EOF {
				err = nil
			}
			return err
		}
		text, err := protojson.MarshalOptions{Resolver: types}.Marshal(message)
		if err != nil {
			return err
		}
		// protojson varies its spaces on purpose; a line of output should not.
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return err
		}
		line.WriteByte('\n')
		if _, err := out.Write(line.Bytes()); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if !method.IsStreamingServer() {
			return nil
		}
	}
}
