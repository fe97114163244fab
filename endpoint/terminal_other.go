//go:build !unix

package endpoint

// hasTerminal is false: there are no process groups that a terminal knows.
func hasTerminal() bool { return false }
