//go:build !linux

package tick

// helpers are what a copy of the test program can be asked to do.
var helpers = map[string]func(){}
