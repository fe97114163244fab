//go:build unix && !linux

package bufio

// enlarge does nothing: only Linux lets a pipe's size be chosen.
func (s *rawSink) enlarge() {}

func (s *rawSink) shrunk() {}
