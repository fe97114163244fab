package pconn

import (
	"bytes"
	"fmt"
	"runtime"
)

// caller says what the goroutine that calls Close or Shutdown is to the connection.
type caller uint8

const (
	callerOther   caller = iota
	callerHandler        // runs one of its handlers, whose own end cannot be waited for
	callerNeeded         // runs what the connection cannot end before: a marked handler, a notification
)

// mark is passed to the functions that call user code. An array is passed in memory, not in registers, so
// that the connection can be read from the stack of whoever was called.
type mark [2]*Conn

func (c *Conn) mark() mark { return mark{c, c} }

// Functions that call user code, as a stack names them. They are not inlined.
var (
	frameInvoke    = []byte("/pconn.(*Conn).invoke(")
	frameStream    = []byte("/pconn.(*Conn).invokeStream(")
	frameReport    = []byte("/pconn.(*Conn).callErrorHook(")
	frameNotify    = []byte("/pconn.(*Conn).callNotification(")
	frameRunMarked = []byte("/pconn.(*Conn).runMarked(")
)

// stackSize holds a goroutine's stack as text, of which the runtime shows the first and last 50 calls.
const stackSize = 64 << 10

// caller looks for the connection's own calls of user code on the calling goroutine's stack: a connection
// and a handler's context are often captured by a closure, so that neither tells, and nothing else that is
// told of a goroutine can be read by it. A handler of another connection is nobody in particular.
func (c *Conn) caller() caller {
	buf := make([]byte, stackSize)
	return callerOn(buf[:runtime.Stack(buf, false)], fmt.Appendf(nil, "{%p, %p}", c, c))
}

// callerOn reads a stack. A call of user code whose arguments are not shown as they are today is taken for
// one of the connection in question: not to wait for a handler that is another's does less harm than to
// wait for oneself.
func callerOn(stack, self []byte) caller {
	found := callerOther
	for line := range bytes.Lines(stack) {
		switch {
		case bytes.Contains(line, frameRunMarked) && found == callerHandler:
			return callerNeeded
		case bytes.Contains(line, markStart) && !bytes.Contains(line, self):
		case bytes.Contains(line, frameNotify):
			return callerNeeded
		case bytes.Contains(line, frameInvoke), bytes.Contains(line, frameStream), bytes.Contains(line, frameReport):
			found = callerHandler
		}
	}
	return found
}

// markStart is how a mark begins on a stack.
var markStart = []byte("{0x")
