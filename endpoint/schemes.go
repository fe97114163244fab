package endpoint

import "strings"

// Scheme is a kind of endpoint whose values can be written as strings.
type Scheme struct {
	// Name is how such a string begins, with its colon.
	Name string
	// Syntax is how it is written; Dialed and Served say what connecting to it and serving it does. Help
	// and documents are made of them.
	Syntax, Dialed, Served string
	// Parse reads what follows Name.
	Parse func(rest string) (Endpoint, error)
}

// Schemes are the kinds of endpoints that a program understands. A program that wants more than this package's own
// says so where it parses:
//
//	schemes := append(endpoint.Builtin(), ws.Schemes()...)
//	e, err := schemes.Parse("wss://example.com/packets")
type Schemes []Scheme

// Builtin returns the kinds of endpoints of this package, in the order in which they are listed. The slice is the
// caller's.
func Builtin() Schemes {
	return Schemes{
		{
			Name: "exec:", Syntax: "exec:COMMAND ARGS...", Parse: parseExec,
			Dialed: "starts it, with its standard input and output as the connection; its words are those of a shell, with quotes and $VARIABLES",
			Served: "the same",
		},
		{
			Name: "ssh:", Syntax: "ssh:[USER@]HOST[:PORT]//COMMAND", Parse: parseSSH,
			Dialed: "runs the installed ssh, and by it a shell command on another machine",
			Served: "the same",
		},
		{
			Name: "stdio:", Syntax: "stdio:", Parse: parseStdio,
			Dialed: "this process's own standard input and output",
			Served: "the same",
		},
		{
			Name: "fd:", Syntax: "fd:R,W or fd:N", Parse: parseFD,
			Dialed: "open descriptors, to read and to write, or a socket",
			Served: "the same",
		},
		{
			Name: "unix:", Syntax: "unix:PATH[#mode=0660&allow=USER,...]", Parse: parseUnix,
			Dialed: "a socket in the file system; its server must be one of the users, if any are named",
			Served: "listens, by default for the same user only (mode 0600)",
		},
		{
			Name: "unix-abstract:", Syntax: "unix-abstract:NAME[#allow=USER,...]", Parse: parseUnixAbstract,
			Dialed: "a Linux socket without a file; its server must be the same user or root, or one of the users",
			Served: "listens, by default for the same user and root only; allow=any is everybody",
		},
		{
			Name: "tcp:", Syntax: "tcp:HOST:PORT", Parse: parseTCP,
			Dialed: "a TCP socket",
			Served: "listens; an empty host is every address, port 0 one that the system chooses",
		},
		{
			Name: "tls:", Syntax: "tls:HOST:PORT[#ca=FILE&cert=FILE&key=FILE&name=HOST]", Parse: parseTLS,
			Dialed: "TLS over TCP; trusts the system's authorities or those of the file, and shows the certificate if there is one",
			Served: "listens with the certificate; with ca, clients must show one of these authorities'",
		},
		{
			Name: "activation:", Syntax: "activation:[NAME]", Parse: parseActivation,
			Dialed: "the connection that the service manager has passed (LISTEN_FDS)",
			Served: "the socket or connection that the service manager has passed",
		},
	}
}

// Parse reads an endpoint's string. The error is an *UnknownSchemeError or a *SyntaxError.
func (s Schemes) Parse(text string) (Endpoint, error) {
	for _, scheme := range s {
		rest, ok := strings.CutPrefix(text, scheme.Name)
		if !ok {
			continue
		}
		e, err := scheme.Parse(rest)
		if err != nil {
			return nil, &SyntaxError{Endpoint: text, Reason: err.Error()}
		}
		return e, nil
	}
	return nil, &UnknownSchemeError{Endpoint: text, Known: s.Names()}
}

// Names returns how the strings begin, each with its colon.
func (s Schemes) Names() []string {
	names := make([]string, len(s))
	for i, scheme := range s {
		names[i] = scheme.Name
	}
	return names
}
