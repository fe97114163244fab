package forward

import (
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/packetstream/packetstream/endpoint"
)

// Rules are the addresses that a Server connects to or listens on. The zero value allows none.
//
//	HOST:PORT  this host, as it is written, and this port
//	HOST:*     every port of it
//	*:PORT     this port of every host
//	*:*        every address
//	/PATH      this socket, or those that the pattern matches, as path.Match has it
//
// Hosts are compared as text, without regard to case: who allows a name allows what it stands for on the server. A host
// that is empty, which is every address to listen on, is matched by * only.
type Rules []string

// Check finds rules that are none.
func (r Rules) Check() error {
	for _, rule := range r {
		if isPath(rule) {
			if _, err := path.Match(rule, ""); err != nil {
				return fmt.Errorf("forward: rule %q: %w", rule, err)
			}
			continue
		}
		_, port, err := net.SplitHostPort(rule)
		if err != nil || port != "*" && !isPort(port) {
			return fmt.Errorf("forward: rule %q is not HOST:PORT, where either may be *, or a path", rule)
		}
	}
	return nil
}

// allow reports whether one of the rules allows the address.
func (r Rules) allow(a Address) bool {
	for _, rule := range r {
		if allows(rule, a) {
			return true
		}
	}
	return false
}

func allows(rule string, a Address) bool {
	switch a := a.(type) {
	case endpoint.Unix:
		matched, err := path.Match(rule, a.Path)
		return err == nil && matched && isPath(rule) && path.Clean(a.Path) == a.Path
	case endpoint.TCP:
		host, port, err := net.SplitHostPort(a.Addr)
		ruleHost, rulePort, ruleErr := net.SplitHostPort(rule)
		return err == nil && ruleErr == nil && !isPath(rule) &&
			(ruleHost == "*" || host != "" && strings.EqualFold(ruleHost, host)) && (rulePort == "*" || rulePort == port)
	}
	return false
}

func isPath(s string) bool { return strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") }
