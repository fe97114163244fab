//go:build race

package interop

// raceArgs build the command with the race detector when the tests have it.
var raceArgs = []string{"-race"}
