// Package share has any number of connections share the children of one command.
//
//	children, err := share.Start(ctx, func() *exec.Cmd { return exec.Command("helper") }, &share.Options{Pool: pool.Options{Size: 4}})
//	if err != nil { … }
//	defer children.Close()
//	err = endpoint.Serve(ctx, "unix:/run/helper.sock", children.Serving(nil))
//
// # What is mapped to what
//
// A request of a connection is made of the child that is least busy, of the same type, flags, payload and metadata, on the
// same channel, under a tag of that child's connection. The answer goes back as it is, metadata, flags, code and details
// included, and so do cancellation and deadlines in the other direction. A child does not see who asks, and two requests of a
// connection may go to two children. What becomes of requests when a child ends, package pool says; what the child said last is
// told to the logger, and not to those who share it.
//
// A stream that a connection opens is opened at one of the children, by the same name and metadata, and the two are joined:
// bytes, the end of each direction, a reader that takes no more, and a reset with its code go from one to the other, as
// does a refusal with its text. Who reads slowly holds up the sender of its own stream, across both connections, and nobody else:
// on the way there is a window of either connection and 32 KiB. A stream ends with its child.
//
// Extensions are each connection's own: a connection without them gets answers without metadata, and opens no streams.
// Open files do not go through.
//
// # Children that ask back
//
// Nothing in a child's question says to which of the connections it belongs, and to guess would tell one what is another's. With
// Options.AskBack every request, and every stream, that a child gets has a field in its metadata, Key, that names the
// connection which it came from, and a request or a stream of the child's that has it goes to that connection: [Back]
// is what a handler in a Go program puts into its question. A name is good until its connection ends, so that a child may
// also notify those who have asked it once. It takes children that have the protocol's extensions. In what connections send
// and get the field does not appear.
//
// Anything else that a child asks is rejected, with CodeNobody, and streams are refused.
package share
