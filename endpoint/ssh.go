package endpoint

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/pconn"
)

// SSH is a command on another machine, with its standard input and output as the connection. The installed ssh
// brings it there, with all that its user has set up: keys, an agent, aliases and jumps in ~/.ssh/config, and
// whether it asks for passwords (BatchMode) or for hosts that it does not know. Where this process has a terminal ssh can ask
// there: it is started with StartOptions.Foreground.
type SSH struct {
	// Host is a machine as ssh knows it, with the user before an @ if it is another than
	// ssh would take. It is never taken for an option.
	Host string
	// Port is 0 where ssh is to know it.
	Port uint16
	// Command is for the shell of the user there.
	Command string
}

func parseSSH(rest string) (Endpoint, error) {
	host, command, found := strings.Cut(rest, "//")
	if !found {
		return nil, errors.New("write ssh:HOST//COMMAND")
	}
	e := SSH{Host: host, Command: command}
	user, addr, hasUser := strings.Cut(host, "@")
	if !hasUser {
		user, addr = "", host
	} else {
		user += "@"
	}
	if name, port, err := net.SplitHostPort(addr); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("port " + strconv.Quote(port) + " is no number from 1 to 65535")
		}
		e.Host, e.Port = user+name, uint16(n)
	} else if strings.HasPrefix(addr, "[") && strings.HasSuffix(addr, "]") {
		e.Host = user + addr[1:len(addr)-1]
	}
	return e, e.check()
}

func (e SSH) check() error {
	user, host, hasUser := strings.Cut(e.Host, "@")
	if !hasUser {
		host = e.Host
	}
	switch {
	case host == "" || hasUser && user == "":
		return errors.New("a host is missing; write ssh:HOST//COMMAND")
	case strings.HasPrefix(e.Host, "-") || strings.HasPrefix(host, "-"):
		return errors.New("the host looks like an option")
	case strings.ContainsFunc(e.Host, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\x7f/[]", r) }):
		return errors.New("the host has characters that no host has")
	case strings.TrimSpace(e.Command) == "":
		return errors.New("a command is missing; write ssh:HOST//COMMAND")
	}
	return nil
}

// String returns it as Parse reads it.
func (e SSH) String() string {
	host := e.Host
	if e.Port != 0 {
		user, name, hasUser := strings.Cut(host, "@")
		if hasUser {
			user += "@"
		} else {
			user, name = "", host
		}
		host = user + net.JoinHostPort(name, strconv.Itoa(int(e.Port)))
	}
	return "ssh:" + host + "//" + e.Command
}

// Exec returns the command that is run here.
func (e SSH) Exec() Exec {
	// Without a terminal at the other end, which would change bytes.
	args := []string{"ssh", "-T"}
	if e.Port != 0 {
		args = append(args, "-p", strconv.Itoa(int(e.Port)))
	}
	return Exec{Args: append(args, "--", e.Host, e.Command)}
}

// Dial starts ssh: see Start. It does not wait until ssh has connected; the first call does. If it cannot connect
// that is an *ExitError with ssh's status 255 and what it says.
func (e SSH) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	if err := e.check(); err != nil {
		return nil, &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	return e.Exec().dial(ctx, opts, &StartOptions{Foreground: hasTerminal()})
}

// Open starts ssh: see Opener and Exec.Open.
func (e SSH) Open(ctx context.Context) (Transport, error) {
	if err := e.check(); err != nil {
		return nil, &SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	return e.Exec().open(ctx, &StartOptions{Foreground: hasTerminal()})
}

// Serve starts ssh and serves the command at the other end: see the function Serve.
func (e SSH) Serve(ctx context.Context, opts *pconn.Options) error { return serveOne(ctx, e, opts) }
