// Package forward carries connections of sockets over the streams of a packet connection, as ssh's options
// -L, -R and -D do, through whatever the packet connection goes over: a child's standard input and output, for instance.
//
//	err := forward.Local(ctx, conn, endpoint.TCP{Addr: "localhost:8080"}, endpoint.TCP{Addr: "db:5432"}, nil)
//
// Whoever connects to port 8080 here talks to db:5432 there. [Remote] is the reverse, [Socks] lets each client say
// where it wants to go, and [Dial] gives a program such a connection. All of them need a [Server] at the other end, which
// does nothing but what its rules allow:
//
//	opts := &pconn.Options{StreamHandler: &forward.Server{Dial: forward.Rules{"db:5432"}}}
//	err := endpoint.ServeStdio(ctx, opts)
//
// # The streams
//
// A stream by the name "forward" asks for a connection. Its metadata has the key "to", an address as endpoints
// are written: tcp:HOST:PORT or unix:PATH. The end that takes it connects, and then sends one octet 0, behind which
// the bytes of the connection follow; or it refuses the stream, with the reason as text. The end that opened it need not
// wait for that before it sends.
//
// A stream by the name "forward-listen" asks to listen. Its metadata has the keys "on", such an address, and "as", the
// name of a stream. The end that takes it listens, and then sends one message, the address it listens on. For each
// connection that comes it opens a stream of the name "as", which is taken as one by the name "forward". It listens
// until the stream ends.
package forward
