// Package endpoint brings the two ends of a packet connection together: a program and a helper that it
// starts, a helper and its own standard input and output, descriptors, sockets.
//
// A program starts a helper, calls it, and is called by it:
//
//	child, err := endpoint.Start(ctx, exec.Command("helper"), nil)
//	if err != nil { … }
//	defer child.Close()
//	resp, err := child.Do(ctx, pconn.Request{Type: greet, Payload: []byte("Ada")})
//
// The helper serves on its standard input and output:
//
//	if err := endpoint.ServeStdio(ctx, &pconn.Options{Handler: mux}); err != nil {
//		log.Fatal(err)
//	}
//
// # Endpoints
//
// An endpoint is written as a string, or as a value of the type that stands beside it. Each can be
// connected to, by [Dial], and served, by [Serve]:
//
//	exec:COMMAND ARGS…    Exec          a command, with its standard input and output as the connection
//	ssh:HOST//COMMAND     SSH           a command on another machine, by way of the installed ssh
//	stdio:                Stdio         this process's own standard input and output
//	fd:R,W or fd:N        FD            open descriptors: one to read and one to write, or a socket
//	unix:PATH             Unix          a socket in the file system
//	unix-abstract:NAME    UnixAbstract  a socket of Linux without a file
//	tcp:HOST:PORT         TCP           an address of the network
//	tls:HOST:PORT         TLS           the same with TLS
//	activation:NAME       Activation    a socket that a service manager has opened
//
// Settings stand behind a #, written as a URL's query: unix:PATH#mode=0660, tls:HOST:PORT#ca=FILE. [Builtin] lists
// all that can be written. WebSockets are the package endpoint/ws below this one: a program that imports it adds its
// [Schemes] where it parses.
//
// Serving a socket listens, and serves many connections at a time; [Listen] gives the [Listener],
// which knows its address and has [Limits]. Serving any other endpoint serves its one connection until that ends.
//
// Who connects to a Unix socket is known by its user and process (pconn.Peer), and may be limited to some users; who
// connects by TLS, by the certificate that was verified.
//
// # Bytes
//
// What is beneath a connection can be had as a [Transport], by [Opener], and two of them joined, by [Join]: bytes are
// copied, the end of each direction is passed on, and whatever is in them goes through. [Listener.ServeBytes]
// does so for each connection that comes:
//
//	l.ServeBytes(ctx, logger, func(ctx context.Context, a endpoint.Transport) error {
//		b, err := endpoint.Exec{Args: []string{"helper"}}.Open(ctx)
//		if err != nil {
//			return err
//		}
//		return endpoint.Join(ctx, a, b, nil)
//	})
//
// # Children
//
// A [Child] is a started command and the connection to it. It has a process group of its own. When it
// ends, by itself or not, every call that waits for it gets an [*ExitError] with its exit status and
// the end of what it wrote to standard error, and what it left behind in its process group is killed.
// [Child.Close] gives it three chances: the end of its input, SIGTERM to the group, SIGKILL to the
// group (see [Stop]), and returns in bounded time whatever the child does. Nobody has to wait for
// descendants that left the group and hold its pipes: [Exit.Held] tells of them.
//
// What a child writes to standard error is always read, so that it never blocks there, and its last 64 KiB
// are kept. It is passed through to this process's standard error as it comes, or handed on by lines to
// exec.Cmd.Stderr and to a logger.
//
// On Linux a child does not outlive this process, even if that is killed. [Child.Exit] tells how it ended, and what
// it used up.
//
// By [StartOptions] the connection goes over other descriptors, so that the child may print, or over a socket; a child
// may be left in the foreground of a terminal; its program is compared with a checksum; and it has to prove itself by a
// [Handshake]: with a secret of this one start, which it finds in its environment, and its version and features.
//
// Package pool below this one restarts a child that ends, or keeps several behind one caller. [Caller] is what those
// have in common with a Child and a connection. Package share has many connections share the children of a pool: it says what
// of requests, streams and questions is mapped to what.
//
// # Standard input and output
//
// [ServeStdio] moves the connection to descriptors of its own before it serves: from then on standard
// input is empty and what is printed to standard output goes to standard error, so that a stray print
// hurts nobody. A terminal is refused, with a hint. Where the parent has chosen other descriptors it serves those, and
// it says the handshake's secret by itself: a helper needs to know of neither, but for its version (see [Greeting]).
//
// In another language a helper finds the descriptors in PACKETSTREAM_FD, "3,4" to read and to write or "3" for a
// socket, and the secret in PACKETSTREAM_COOKIE, to send as its HELLO's cookie as Greeting says. Both are not for its
// own children. Without the variables there is standard input and output, and no handshake.
//
// # Platforms
//
// On Linux everything works. On macOS and the BSDs what a child leaves in its process group is killed at once when
// it ends, a child that heeds neither the end of its input nor signals outlives a parent that is killed, and nothing is
// known of the peer of a Unix socket. On Windows there are tcp:, tls: and unix:, and
// everything else is errors.ErrUnsupported. unix-abstract: is Linux alone.
package endpoint
