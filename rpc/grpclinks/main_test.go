package grpclinks_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the test server on standard input and output where a test has started this program as its child.
func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(childVariable); ok {
		os.Exit(childMain(config))
	}
	goleak.VerifyTestMain(m)
}
