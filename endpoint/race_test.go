//go:build race

package endpoint_test

// raceDetector says that the tests run with it. It takes memory for every synchronisation that it sees.
const raceDetector = true
