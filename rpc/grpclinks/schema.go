package grpclinks

import (
	"context"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// schema asks the peer's reflection service what it serves.
type schema struct {
	stream grpc.BidiStreamingClient[reflectionpb.ServerReflectionRequest, reflectionpb.ServerReflectionResponse]
	files  map[string]*descriptorpb.FileDescriptorProto
}

func newSchema(ctx context.Context, cc grpc.ClientConnInterface) (*schema, error) {
	stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	return &schema{stream: stream, files: make(map[string]*descriptorpb.FileDescriptorProto)}, nil
}

func (s *schema) close() error {
	if err := s.stream.CloseSend(); err != nil {
		return err
	}
	if _, err := s.stream.Recv(); err != io.EOF {
		return err
	}
	return nil
}

func (s *schema) ask(req *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
	if err := s.stream.Send(req); err != nil && err != io.EOF {
		return nil, err
	}
	reply, err := s.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("asking the reflection service: %w", err)
	}
	if failure := reply.GetErrorResponse(); failure != nil {
		return nil, status.Error(codes.Code(failure.GetErrorCode()), failure.GetErrorMessage())
	}
	return reply, nil
}

// services lists what is served.
func (s *schema) services() ([]string, error) {
	reply, err := s.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, service := range reply.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	return names, nil
}

// find returns what a name stands for, with the files it needs.
func (s *schema) find(name string) (protoreflect.Descriptor, *protoregistry.Files, error) {
	err := s.load(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
	if err != nil {
		return nil, nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range s.files {
		set.File = append(set.File, file)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, nil, fmt.Errorf("the reflection service's files do not fit together: %w", err)
	}
	descriptor, err := files.FindDescriptorByName(protoreflect.FullName(name))
	return descriptor, files, err
}

// load keeps the files of an answer and asks for those they import.
func (s *schema) load(req *reflectionpb.ServerReflectionRequest) error {
	reply, err := s.ask(req)
	if err != nil {
		return err
	}
	var missing []string
	for _, data := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(data, file); err != nil {
			return fmt.Errorf("a file of the reflection service: %w", err)
		}
		s.files[file.GetName()] = file
		missing = append(missing, file.GetDependency()...)
	}
	for _, name := range missing {
		if s.files[name] != nil {
			continue
		}
		err := s.load(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name}})
		if err != nil {
			return err
		}
	}
	return nil
}

// describe writes a descriptor as it could stand in a .proto file.
func describe(w io.Writer, d protoreflect.Descriptor) {
	switch d := d.(type) {
	case protoreflect.ServiceDescriptor:
		fmt.Fprintf(w, "service %s {\n", d.FullName())
		for i := range d.Methods().Len() {
			fmt.Fprintf(w, "  %s\n", signature(d.Methods().Get(i)))
		}
		fmt.Fprintln(w, "}")
	case protoreflect.MethodDescriptor:
		fmt.Fprintln(w, signature(d))
	case protoreflect.MessageDescriptor:
		fmt.Fprintf(w, "message %s {\n", d.FullName())
		for i := range d.Fields().Len() {
			describeField(w, d.Fields().Get(i))
		}
		fmt.Fprintln(w, "}")
	case protoreflect.EnumDescriptor:
		fmt.Fprintf(w, "enum %s {\n", d.FullName())
		for i := range d.Values().Len() {
			value := d.Values().Get(i)
			fmt.Fprintf(w, "  %s = %d;\n", value.Name(), value.Number())
		}
		fmt.Fprintln(w, "}")
	default:
		fmt.Fprintf(w, "%s\n", d.FullName())
	}
}

func signature(m protoreflect.MethodDescriptor) string {
	side := func(streams bool, message protoreflect.MessageDescriptor) string {
		if streams {
			return "stream " + string(message.FullName())
		}
		return string(message.FullName())
	}
	return fmt.Sprintf("rpc %s(%s) returns (%s);", m.Name(), side(m.IsStreamingClient(), m.Input()), side(m.IsStreamingServer(), m.Output()))
}

func describeField(w io.Writer, f protoreflect.FieldDescriptor) {
	var label string
	switch {
	case f.IsMap():
		fmt.Fprintf(w, "  map<%s, %s> %s = %d;\n", kindOf(f.MapKey()), kindOf(f.MapValue()), f.Name(), f.Number())
		return
	case f.IsList():
		label = "repeated "
	case f.HasOptionalKeyword():
		label = "optional "
	}
	var of string
	if oneof := f.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		of = " // one of " + string(oneof.Name())
	}
	fmt.Fprintf(w, "  %s%s %s = %d;%s\n", label, kindOf(f), f.Name(), f.Number(), of)
}

func kindOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	default:
		return strings.ToLower(f.Kind().String())
	}
}
