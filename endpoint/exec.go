package endpoint

import (
	"context"
	"errors"
	"os/exec"
	"strings"

	"mvdan.cc/sh/v3/shell"
	"mvdan.cc/sh/v3/syntax"

	"github.com/packetstream/packetstream/pconn"
)

// Exec is a command, with its standard input and output as the connection. Each Dial starts it anew; Start gives
// more control. As a string its words are those of the shell, with quotes and $VARIABLES, and nothing
// else of what a shell does.
type Exec struct {
	// Args are the program, which is looked up in PATH, and its arguments.
	Args []string
}

func parseExec(rest string) (Endpoint, error) {
	args, err := shell.Fields(rest, nil)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, errors.New("a command is missing")
	}
	return Exec{Args: args}, nil
}

// String returns the command as Parse reads it.
func (e Exec) String() string {
	words := make([]string, len(e.Args))
	for i, arg := range e.Args {
		word, err := syntax.Quote(arg, syntax.LangPOSIX)
		if err != nil {
			// No shell has a way to write it. The word is for people to read.
			word = arg
		}
		words[i] = word
	}
	return "exec:" + strings.Join(words, " ")
}

// Dial starts the command: see Start.
func (e Exec) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	return e.dial(ctx, opts, &StartOptions{})
}

func (e Exec) dial(ctx context.Context, opts *pconn.Options, start *StartOptions) (*Conn, error) {
	cmd, err := e.command()
	if err != nil {
		return nil, err
	}
	if opts != nil {
		start.Conn = *opts
	}
	child, err := Start(ctx, cmd, start)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: child.Conn, child: child}, nil
}

func (e Exec) command() (*exec.Cmd, error) {
	if len(e.Args) == 0 {
		return nil, &SyntaxError{Endpoint: "exec:", Reason: "a command is missing"}
	}
	return exec.Command(e.Args[0], e.Args[1:]...), nil
}

// Serve starts the command and serves it: see the function Serve.
func (e Exec) Serve(ctx context.Context, opts *pconn.Options) error { return serveOne(ctx, e, opts) }
