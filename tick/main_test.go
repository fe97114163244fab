package tick

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// helperEnv names the role of a copy of the test program that a test started.
const helperEnv = "TICK_TEST_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperEnv); role != "" {
		helpers[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
