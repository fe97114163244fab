//go:build !(linux && (long || soak))

package interop

// memoryChildren are what the test binary is as a child of the tests of memory, which are not here.
var memoryChildren map[string]func() error
