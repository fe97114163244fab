package interop

import (
	"io"

	"github.com/packetstream/packetstream/bufio"
)

// wire is the two byte streams between raw and the connection under test, and what raw does with them.
type wire struct {
	in  *bufio.Input // the connection's ends
	out *bufio.Output

	send      func([]byte) error // raw's ends
	recv      io.Reader
	closeSend func()
	closeRecv func()

	// fds says whether the descriptors that the connection was given are open. It is nil where there are none.
	fds func() (in, out bool)
	// release gives back what the application holds of the connection's ends.
	release func()
}

// memoryWire has no descriptors, so that it can be used in virtual time.
func memoryWire() *wire {
	in, send := bufio.Pipe(1 << 20)
	recv, out := bufio.Pipe(1 << 20)
	return &wire{
		in: in, out: out, recv: recv,
		send: func(b []byte) error {
			var batch bufio.Batch
			batch.End(append(batch.Begin(), b...))
			return send.Write(&batch, true)
		},
		closeSend: func() { _ = send.Close() },
		closeRecv: func() { _ = recv.Close() },
		release:   func() {},
	}
}
