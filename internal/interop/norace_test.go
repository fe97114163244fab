//go:build !race

package interop

var raceArgs []string
