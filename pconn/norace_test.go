//go:build !race

package pconn_test

// raceDetector says that the tests run with it.
const raceDetector = false
