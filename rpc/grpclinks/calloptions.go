package grpclinks

import (
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// callInfo is what the options of a call say. Later options win; those with an address all count.
type callInfo struct {
	headers    []*metadata.MD
	trailers   []*metadata.MD
	peers      []*peer.Peer
	onFinish   []func(error)
	creds      credentials.PerRPCCredentials
	failFast   bool
	maxReceive int
	maxSend    int
	authority  string
	subtype    string
	codec      codec
	codecName  string
	compressor string
}

// read goes through the options. Their methods are private to grpc-go, so it looks at their types; unknown ones say nothing.
func (i *callInfo) read(options []grpc.CallOption) {
	i.failFast = true
	i.maxReceive, i.maxSend = DefaultMaxReceive, DefaultMaxSend
	for _, option := range options {
		switch o := option.(type) {
		case grpc.StaticMethodCallOption:
			// The most frequent one, put in by generated code.
		case grpc.HeaderCallOption:
			i.headers = append(i.headers, o.HeaderAddr)
		case grpc.TrailerCallOption:
			i.trailers = append(i.trailers, o.TrailerAddr)
		case grpc.PeerCallOption:
			i.peers = append(i.peers, o.PeerAddr)
		case grpc.OnFinishCallOption:
			i.onFinish = append(i.onFinish, o.OnFinish)
		case grpc.FailFastCallOption:
			i.failFast = o.FailFast
		case grpc.MaxRecvMsgSizeCallOption:
			i.maxReceive = min(o.MaxRecvMsgSize, math.MaxInt32)
		case grpc.MaxSendMsgSizeCallOption:
			i.maxSend = o.MaxSendMsgSize
		case grpc.AuthorityOverrideCallOption:
			i.authority = o.Authority
		case grpc.PerRPCCredsCallOption:
			i.creds = o.Creds
		case grpc.CompressorCallOption:
			i.compressor = o.CompressorType
		case grpc.ContentSubtypeCallOption:
			i.subtype = strings.ToLower(o.ContentSubtype)
		case grpc.ForceCodecCallOption:
			i.codec, i.codecName = bytesCodec{o.Codec}, o.Codec.Name()
		case grpc.ForceCodecV2CallOption:
			i.codec, i.codecName = o.CodecV2, o.CodecV2.Name()
		case grpc.CustomCodecCallOption:
			i.codec, i.codecName = bytesCodec{o.Codec}, ""
		}
	}
}

// format finds the codec and the compressor, which must be registered here.
func (i *callInfo) format() (format, error) {
	f := format{codec: i.codec}
	if f.codec != nil {
		if i.subtype == "" {
			i.subtype = strings.ToLower(i.codecName)
		}
	} else {
		name := i.subtype
		if name == "" {
			name = "proto"
		}
		if f.codec = registeredCodec(name); f.codec == nil {
			return f, status.Errorf(codes.Internal, "no codec registered for content-subtype %s", name)
		}
	}
	if i.compressor != "" && i.compressor != encoding.Identity {
		f.name = i.compressor
		if f.compressor = encoding.GetCompressor(i.compressor); f.compressor == nil {
			return f, status.Errorf(codes.Internal, "grpc: Compressor is not installed for requested grpc-encoding %q", i.compressor)
		}
	}
	return f, nil
}
