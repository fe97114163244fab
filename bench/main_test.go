package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/bench/stubs"
)

// TestMain lets the test program stand for the program in the processes that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "caller", "answerer", "idle", "eventstream", stubs.AnswererCommand:
			main()
			return
		}
	}
	goleak.VerifyTestMain(m)
}
