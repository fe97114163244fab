//go:build !linux

package bufio

import (
	"errors"
	"os"
)

func copyDescriptor(*os.File) (int, error) { return -1, errors.ErrUnsupported }

func closeDescriptor(int) {}
