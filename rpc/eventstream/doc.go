// Package eventstream speaks the event-stream message format and the event-stream RPC protocol, as client
// and as server, with the peers that use the AWS Common Runtime for it (its Python, Java, C++ and Node bindings,
// Greengrass's IPC among them). It runs over any connection: TCP, TLS, Unix sockets, a subprocess's pipes.
package eventstream
