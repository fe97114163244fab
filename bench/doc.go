// Command bench measures packetstream beside other libraries and beside the bare system calls.
//
//	bench run --set quick|headline|full     measure, and write tables
//	bench streams                           streams beside other multiplexers and a bare pipe
//	bench goals                             the goals: seen in the newest results, met or not
//	bench report                            their tables again, a page, a plot, or lines for benchstat
//	bench eventstream codec                 rpc/eventstream's codec beside that of a cloud SDK
//	bench eventstream servers               its server beside the reference's Java server
//	bench stubs                             generated gRPC stubs over pipes, beside grpc-go and ttrpc; see package stubs
//	bench profile --peer NAME --cell 16x64  CPU, block, mutex and allocation profiles of both ends
//
// # How it measures
//
// Each peer, in each cell, in each round, has a fresh pair of processes: one that calls, and its child that answers, over
// the child's standard input and output, two pipes. In a round all peers take turns, in an order that is rotated from
// round to round, so that what else the machine does hurts all alike; what is compared is compared within a
// round. Callers start, warm up while what adapts settles, and go on while the clock runs; usage is read on both
// ends when it starts and when it stops. Every answer is compared with what was sent, byte for byte.
//
// Package peer has the peers and how each is set up, package load the callers, package report what is made of it.
package main
