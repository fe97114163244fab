//go:build !(linux && (long || soak))

package interop

// children are what the test binary does instead of testing when it is started as a child.
var children map[string]func() error
