package links

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain relays tickets where a test has started this program as its child.
func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(relayVariable); ok {
		os.Exit(relayMain())
	}
	goleak.VerifyTestMain(m)
}
