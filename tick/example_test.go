package tick_test

import (
	"context"
	"os"

	"github.com/packetstream/packetstream/tick"
)

func Example() {
	ticker := tick.New(func(b []byte) { os.Stdout.Write(b) }) // or tick.Stderr
	ticker.Tick(tick.Sent)
	ticker.Tick(tick.Flush)
	ticker.Tick(tick.Received)
	ticker.Close(context.Background())
	// Output: >F<
}
