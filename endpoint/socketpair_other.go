//go:build !unix

package endpoint

import (
	"errors"
	"os"
)

func (w *wires) socket() (*os.File, error) { return nil, errors.ErrUnsupported }
