//go:build unix && !linux

package bufio

import "errors"

// sendHandles is never called: no rawSink passes descriptors.
func (v *vectors) sendHandles(int, [][]byte, *Handles) (int, error) { return 0, errors.ErrUnsupported }

// takenFiles are never there.
type takenFiles struct{}

func (*takenFiles) read(int, *Input) (int, error) { return 0, errors.ErrUnsupported }
