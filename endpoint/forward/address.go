package forward

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/endpoint"
)

// Address is where connections come from or go to: an [endpoint.TCP] or an [endpoint.Unix].
type Address interface {
	endpoint.Endpoint
	endpoint.Opener
	endpoint.Listenable
}

// ParseAddress reads tcp:HOST:PORT or unix:PATH.
func ParseAddress(s string) (Address, error) {
	e, err := endpoint.Parse(s)
	if err != nil {
		return nil, err
	}
	switch e.(type) {
	case endpoint.TCP, endpoint.Unix:
		return e.(Address), nil
	}
	return nil, fmt.Errorf("forward: %s: only tcp: and unix: are forwarded", s)
}

// ParseForward reads what ssh's options -L and -R take: where to listen, and where to connect to.
//
//	[HOST:]PORT:HOST:PORT
//	[HOST:]PORT:/PATH
//	/PATH:HOST:PORT
//	/PATH:/PATH
//
// Without a host it listens on localhost, with * on every address. IPv6 addresses stand in brackets.
func ParseForward(s string) (from, to Address, err error) {
	from, rest, err := cutAddress(s, true)
	if err == nil && rest == "" {
		err = errors.New("the address to connect to is missing")
	}
	if err == nil {
		to, rest, err = cutAddress(rest, false)
	}
	if err == nil && rest != "" {
		err = fmt.Errorf("%q is too much", rest)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("forward: %q is not [HOST:]PORT:HOST:PORT or one with a path: %w", s, err)
	}
	return from, to, nil
}

// ParseListen reads what ssh's option -D takes: [HOST:]PORT, or a path.
func ParseListen(s string) (Address, error) {
	a, rest, err := cutAddress(s, true)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q is too much", rest)
	}
	if err != nil {
		return nil, fmt.Errorf("forward: %q is not [HOST:]PORT or a path: %w", s, err)
	}
	return a, nil
}

// cutAddress takes an address from the beginning of s, and the colon behind it. One to listen at may be a port alone.
func cutAddress(s string, listens bool) (a Address, rest string, err error) {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") {
		path, rest, _ := strings.Cut(s, ":")
		return endpoint.Unix{Path: path}, rest, nil
	}
	host := "localhost"
	if first, _, _ := strings.Cut(s, ":"); !listens || !isPort(first) {
		if host, s, err = cutHost(s); err != nil {
			return nil, "", err
		}
	}
	port, rest, _ := strings.Cut(s, ":")
	if !isPort(port) {
		return nil, "", fmt.Errorf("%q is no port", port)
	}
	if host == "*" {
		host = ""
	}
	t := endpoint.TCP{Addr: net.JoinHostPort(host, port)}
	if _, err := ParseAddress(t.String()); err != nil {
		return nil, "", fmt.Errorf("%q is no host", host)
	}
	return t, rest, nil
}

// cutHost takes a host from the beginning of s, and the colon behind it.
func cutHost(s string) (host, rest string, err error) {
	var found bool
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, found = strings.Cut(inner, "]:")
	} else {
		host, rest, found = strings.Cut(s, ":")
	}
	switch {
	case !found:
		return "", "", fmt.Errorf("%q has no port", s)
	case host == "":
		return "", "", errors.New("a host is missing")
	}
	return host, rest, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
