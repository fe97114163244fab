package eventstream_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/eventstreamtest"
)

func TestMain(m *testing.M) {
	if childtest.Mode() != "" {
		_ = eventstreamtest.New().ServeConn(context.Background(), childtest.Stdio())
		return
	}
	goleak.VerifyTestMain(m)
}
