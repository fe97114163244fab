// Package interop holds the tests of packet connections beside the Python package cs.packetstream:
// its recorded sessions are replayed against this module, and its two releases run against it, live. So does
// clients/python/packetstream.py, the protocol in one Python file.
//
// A recorded session is what a hand-made peer ("raw") and the library ("real") sent to one another, and
// what became of the operations that the library's application made. In a replay the test is raw, and a
// pconn.Conn is real. What is not as recorded has to be listed in
// testdata/packetstream/differences.json, with the reason; what is listed and no longer occurs fails too.
package interop
