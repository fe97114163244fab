//go:build !unix

package bufio

import (
	"errors"
	"io"
)

func newRawOrigin(io.Reader, io.Closer) origin { return nil }

// InputFD needs descriptors as Unix has them. The error is a *DescriptorError with errors.ErrUnsupported.
func InputFD(fd int) (*Input, error) {
	return nil, &DescriptorError{Op: "read", FD: fd, Err: errors.ErrUnsupported}
}

// OutputFD needs descriptors as Unix has them. The error is a *DescriptorError with errors.ErrUnsupported.
func OutputFD(fd int) (*Output, error) {
	return nil, &DescriptorError{Op: "write to", FD: fd, Err: errors.ErrUnsupported}
}

func newRawSink(io.Writer, io.Closer) sink { return nil }
