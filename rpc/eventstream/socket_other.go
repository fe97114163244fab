//go:build !unix

package eventstream

import "io"

// tryWriter would write what a transport takes without waiting; there is no way to here.
type tryWriter struct{}

func newTryWriter(io.Writer) *tryWriter { return nil }

func (*tryWriter) try([]byte) (int, error) { return 0, io.ErrShortWrite }

func newSocketReader(r io.Reader) io.Reader { return r }
