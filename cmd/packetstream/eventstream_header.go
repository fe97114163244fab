package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// splitAddress takes the scheme from an address.
func splitAddress(cmd *cobra.Command, s string) (network, address string, secure bool, err error) {
	scheme, address, ok := strings.Cut(s, ":")
	switch {
	case ok && (scheme == "tcp" || scheme == "unix"):
		return scheme, address, false, nil
	case ok && scheme == "tls":
		return "tcp", address, true, nil
	}
	return "", "", false, usagef(cmd, "address %q is not tcp:HOST:PORT, tls:HOST:PORT or unix:PATH", s)
}

func parseHeaders(cmd *cobra.Command, texts []string) (eventstream.Headers, error) {
	var hs eventstream.Headers
	for _, text := range texts {
		h, err := parseHeader(text)
		if err != nil {
			return nil, usagef(cmd, "header %q: %w", text, err)
		}
		hs = append(hs, h)
	}
	return hs, nil
}

// parseHeader makes a header of NAME[:TYPE]=VALUE. Names may themselves contain colons, so the type is what
// follows the last colon, if it is one.
func parseHeader(text string) (eventstream.Header, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return eventstream.Header{}, errors.New("not NAME[:TYPE]=VALUE")
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		if parse := headerParsers[name[i+1:]]; parse != nil {
			return parse(name[:i], value)
		}
	}
	return eventstream.String(name, value), nil
}

var headerParsers = map[string]func(name, value string) (eventstream.Header, error){
	"bool": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseBool(value)
		return eventstream.Bool(name, v), err
	},
	"byte": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseInt(value, 0, 8)
		return eventstream.Byte(name, int8(v)), err
	},
	"int16": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseInt(value, 0, 16)
		return eventstream.Int16(name, int16(v)), err
	},
	"int32": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseInt(value, 0, 32)
		return eventstream.Int32(name, int32(v)), err
	},
	"int64": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseInt(value, 0, 64)
		return eventstream.Int64(name, v), err
	},
	"timestamp": func(name, value string) (eventstream.Header, error) {
		v, err := strconv.ParseInt(value, 0, 64)
		return eventstream.Timestamp(name, v), err
	},
	"byte_buf": func(name, value string) (eventstream.Header, error) {
		v, err := base64.StdEncoding.DecodeString(value)
		return eventstream.Bytes(name, v), err
	},
	"string": func(name, value string) (eventstream.Header, error) {
		return eventstream.String(name, value), nil
	},
	"uuid": func(name, value string) (eventstream.Header, error) {
		v, err := hex.DecodeString(strings.ReplaceAll(value, "-", ""))
		if err == nil && len(v) != 16 {
			err = fmt.Errorf("a UUID has 16 bytes, not %d", len(v))
		}
		if err != nil {
			return eventstream.Header{}, err
		}
		return eventstream.UUID(name, [16]byte(v)), nil
	},
}
