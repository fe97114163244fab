//go:build !linux

package bufio

func openSpill(dir string) (spillFile, error) { return openNamed(dir) }
