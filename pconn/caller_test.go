package pconn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCallerOnStacks reads stacks as the runtime shows them, and as another one might.
func TestCallerOnStacks(t *testing.T) {
	const (
		prefix = "goroutine 7 [running]:\nexample.com/program.serve(0xc000012018, {0xc000456000, 0x5, 0x5})\n\t/src/program.go:12 +0x25\n"
		invoke = "github.com/packetstream/packetstream/pconn.(*Conn).invoke(0xc0001, {0x6f3, 0xc0002}, 0xc0003, "
		report = "github.com/packetstream/packetstream/pconn.(*Conn).callErrorHook(0xc0001, 0xc0004, "
		notify = "github.com/packetstream/packetstream/pconn.(*Conn).callNotification(0xc0001, 0xc0004, "
		marked = "github.com/packetstream/packetstream/pconn.(*Conn).runMarked(0xc0001, 0xc0005, {0x6f3, 0xc0002})\n"
		ours   = "{0xc0001, 0xc0001})\n"
		others = "{0xc0009, 0xc0009})\n"
	)
	for name, c := range map[string]struct {
		stack string
		want  caller
	}{
		"nobody":                        {prefix, callerOther},
		"a handler":                     {prefix + invoke + ours, callerHandler},
		"another connection's handler":  {prefix + invoke + others, callerOther},
		"one within the other":          {prefix + invoke + others + invoke + ours, callerHandler},
		"the error hook":                {prefix + report + ours, callerHandler},
		"a marked handler":              {prefix + invoke + ours + marked, callerNeeded},
		"another's marked handler":      {prefix + invoke + others + marked, callerOther},
		"a notification":                {prefix + notify + ours, callerNeeded},
		"another's notification":        {prefix + notify + others, callerOther},
		"a handler, with no arguments":  {prefix + "github.com/packetstream/packetstream/pconn.(*Conn).invoke(...)\n", callerHandler},
		"a notification, without them":  {prefix + "github.com/packetstream/packetstream/pconn.(*Conn).callNotification(...)\n", callerNeeded},
		"a program's frame of the name": {prefix + "example.com/pconn.invoke(...)\n", callerOther},
	} {
		require.Equal(t, c.want, callerOn([]byte(c.stack), []byte("{0xc0001, 0xc0001}")), name)
	}
}
