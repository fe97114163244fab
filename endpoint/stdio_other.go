//go:build !unix

package endpoint

import (
	"errors"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// takeStdio needs descriptors as Unix has them.
func takeStdio() (*bufio.Input, *bufio.Output, pconn.Peer, error) {
	return nil, nil, pconn.Peer{}, &StdioError{FD: 0, Err: errors.ErrUnsupported}
}

func closeDescriptors(int, int) {}
