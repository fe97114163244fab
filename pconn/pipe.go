package pconn

import "github.com/packetstream/packetstream/bufio"

// pipeSize is the bytes that each direction of a Pipe holds, as many as a pipe of the system.
const pipeSize = 64 << 10

// Pipe returns two connected ends in memory, for tests of what is built on connections. Each end has
// its own options. Both have to be ended as any connection.
func Pipe(a, b *Options) (*Conn, *Conn, error) {
	aIn, bOut := bufio.Pipe(pipeSize)
	bIn, aOut := bufio.Pipe(pipeSize)
	first, err := New(aIn, aOut, a)
	if err != nil {
		return nil, nil, err
	}
	second, err := New(bIn, bOut, b)
	if err != nil {
		_ = first.Close()
		return nil, nil, err
	}
	return first, second, nil
}
