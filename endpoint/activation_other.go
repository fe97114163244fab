//go:build !unix

package endpoint

import (
	"errors"
	"net"
)

// listenerFD needs descriptors as Unix has them.
func listenerFD(int) (net.Listener, error) { return nil, errors.ErrUnsupported }
