package grpclinks

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/links"
)

// The names of protocol options.
const (
	optionSubtype   = "content-subtype"
	optionEncoding  = "encoding"
	optionAuthority = "authority"
	optionUserAgent = "user-agent"
)

const (
	contentType      = "application/grpc"
	defaultAuthority = "localhost"
	defaultUserAgent = "packetstream-grpclinks"
	detailsKey       = "grpc-status-details-bin"
)

// reserved says whether a key belongs to the transport: applications cannot send it, and a peer that does is not believed. It is the list of
// grpc-go.
func reserved(key string) bool {
	switch key {
	case "content-type", "user-agent", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return key != "" && key[0] == ':'
}

// validate refuses what HTTP/2 could not carry, so that an application that works here works over a socket.
func validate(md metadata.MD) error {
	for key, values := range md {
		if err := validatePairs(key, values); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	return nil
}

func validatePairs(key string, values []string) error {
	if key == "" {
		return errors.New("there is an empty key in the header")
	}
	if key[0] == ':' {
		return nil // reserved, and left out when it is sent
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("header key %q contains illegal characters not in [0-9a-z-_.]", key)
		}
	}
	if strings.HasSuffix(key, "-bin") {
		return nil
	}
	for _, value := range values {
		for i := range len(value) {
			if value[i] < 0x20 || value[i] > 0x7E {
				return fmt.Errorf("header key %q contains value with non-printable ASCII characters", key)
			}
		}
	}
	return nil
}

// appendPairs adds what an application may send. Keys go out in lower case; repeated keys keep their order.
func appendPairs(pairs links.Metadata, md metadata.MD) links.Metadata {
	for key, values := range md {
		key = strings.ToLower(key)
		if reserved(key) {
			continue
		}
		for _, value := range values {
			pairs = append(pairs, links.Pair{Key: key, Value: value})
		}
	}
	return pairs
}

// toMD makes metadata of what came, without what is not the peer's application's to say. The values share one piece of memory with room for more.
func toMD(pairs links.Metadata, more int) (metadata.MD, []string) {
	md := make(metadata.MD, len(pairs)+more)
	values := make([]string, 0, len(pairs)+more)
	for _, pair := range pairs {
		if reserved(pair.Key) {
			continue
		}
		if before, ok := md[pair.Key]; ok {
			md[pair.Key] = append(before, pair.Value)
			continue
		}
		values = setOne(md, values, pair.Key, pair.Value)
	}
	return md, values
}

// setOne gives key one value, which lies in values, and returns those.
func setOne(md metadata.MD, values []string, key, value string) []string {
	values = append(values, value)
	n := len(values)
	md[key] = values[n-1 : n : n]
	return values
}

// callOptions are what ticket 0 says beside path, time and metadata.
type callOptions struct {
	subtype, encoding, authority, userAgent string
}

func (o callOptions) protocol() *links.Protocol {
	var pairs links.Metadata
	for _, option := range [...]links.Pair{{Key: optionSubtype, Value: o.subtype}, {Key: optionEncoding, Value: o.encoding},
		{Key: optionAuthority, Value: o.authority}, {Key: optionUserAgent, Value: o.userAgent}} {
		if option.Value != "" {
			pairs = append(pairs, option)
		}
	}
	if pairs == nil {
		return nil
	}
	return &links.Protocol{Kind: links.CallOption, Value: pairs}
}

func optionsOf(p *links.Protocol) callOptions {
	var o callOptions
	if p == nil {
		return o
	}
	for _, pair := range p.Value {
		switch pair.Key {
		case optionSubtype:
			o.subtype = pair.Value
		case optionEncoding:
			o.encoding = pair.Value
		case optionAuthority:
			o.authority = pair.Value
		case optionUserAgent:
			o.userAgent = pair.Value
		}
	}
	return o
}

func (o callOptions) contentType() string {
	if o.subtype == "" {
		return contentType
	}
	return contentType + "+" + o.subtype
}

// incomingMD is what a handler finds in its context: the caller's pairs and what the transport says itself.
func incomingMD(pairs links.Metadata, o callOptions) metadata.MD {
	md, values := toMD(pairs, 4)
	authority, userAgent := o.authority, o.userAgent
	if authority == "" {
		authority = defaultAuthority
	}
	if userAgent == "" {
		userAgent = defaultUserAgent
	}
	values = setOne(md, values, ":authority", authority)
	values = setOne(md, values, "content-type", o.contentType())
	setOne(md, values, "user-agent", userAgent)
	if encoding.GetCompressor("gzip") != nil {
		const key = "grpc-accept-encoding"
		md[key] = append(md[key], "gzip")
	}
	return md
}
