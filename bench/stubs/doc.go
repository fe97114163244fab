// Package stubs measures what generated gRPC stubs cost: packetstream's rpc/grpclinks beside grpc-go over the same pipes
// and over a Unix socket, and beside ttrpc.
//
// # How it measures
//
// A system in a cell in a round has a fresh connection. In a round all systems take turns, in an order that is
// rotated from round to round; ratios are of figures of one round. Messages are protobuf's BytesValue, and every
// system has the settings that it comes with. Both ends are in one process (together), or the answering one is a
// child (apart). Allocations and processor time are those of both ends.
package stubs
