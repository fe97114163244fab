package links

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/stretchr/testify/require"
)

// traceScripts do what was done with the original, by name of the trace.
var traceScripts = map[string]func(s *script){
	"unary: everything in one ticket each way": func(s *script) {
		s.onStep = func(op *Operation, _ Advance) error {
			return op.Advance(Advance{Initial: named("sim"), Payload: text("r"), Completion: closingOf("stm", 0, "fine")})
		}
		s.operate(Opening{Initial: named("cim"), Payload: text("q"), Completion: &Closing{}})
	},
	"bidi, allowance 1 at a time": func(s *script) {
		s.onStep = func(op *Operation, a Advance) error {
			switch {
			case a.Payload != nil:
				return op.Advance(Advance{Payload: text("e" + string(a.Payload.Bytes())), Allowance: 1})
			case a.Completion != nil:
				return op.Complete(*closingOf("", 0, ""))
			}
			return nil
		}
		s.operate(Opening{})
		for i := range 3 {
			s.ok(s.cli.Advance(Advance{Payload: text(fmt.Sprint(i))}))
		}
		s.ok(s.cli.Grant(5))
		s.ok(s.cli.Complete(Closing{}))
	},
	"no allowance granted: the second payload waits": func(s *script) {
		s.operate(Opening{})
		s.send("1", "2")
	},
	"grant of three releases one ticket per payload": func(s *script) {
		s.operate(Opening{})
		s.send("1", "2", "3", "4", "5")
		s.ok(s.srv.Grant(3))
	},
	"cancel": func(s *script) {
		s.operate(Opening{})
		s.cli.Cancel()
	},
	`servicer raises NoSuchMethod(12,"nope")`: func(s *script) {
		s.onService = func(*Operation) error { return &NoSuchMethodError{12, "nope"} }
		s.operate(Opening{})
	},
	"servicer operator raises": func(s *script) {
		s.onStep = func(*Operation, Advance) error { return errors.New("raised") }
		s.operate(Opening{Payload: text("q")})
	},
	"servicer cancels": func(s *script) {
		s.onStep = func(op *Operation, _ Advance) error { op.Cancel(); return nil }
		s.operate(Opening{Payload: text("q")})
	},
	"invocation-side expiry": func(s *script) {
		s.operate(Opening{Timeout: 300 * time.Millisecond})
		time.Sleep(time.Second)
	},
	"service-side maximum timeout below the asked one": func(s *script) {
		s.srvEnd.opts.MaxTimeout = 10 * time.Second
		s.operate(Opening{})
		time.Sleep(11 * time.Second)
	},
	"service shuts down": func(s *script) {
		s.operate(Opening{})
		<-s.srvEnd.Stop(0)
	},
	"invocation shuts down": func(s *script) {
		s.operate(Opening{})
		<-s.cliEnd.Stop(0)
	},
	"zero allowance": func(s *script) {
		s.operate(Opening{})
		require.ErrorIs(s.t, s.cli.Grant(0), ErrMisuse)
	},
	"second completion": func(s *script) {
		s.operate(Opening{})
		s.ok(s.cli.Complete(Closing{}))
		require.ErrorIs(s.t, s.cli.Complete(Closing{}), ErrMisuse)
	},
	"initial metadata after payload": func(s *script) {
		s.operate(Opening{})
		s.send("1")
		require.ErrorIs(s.t, s.cli.SendInitial(named("x")), ErrMisuse)
	},
	"payload and completion while one payload is held back": func(s *script) {
		s.operate(Opening{})
		s.send("1", "2")
		s.ok(s.cli.Advance(Advance{Payload: text("3"), Completion: &Closing{}}))
	},
	"server completes before client half-closes": func(s *script) {
		s.onStep = func(op *Operation, _ Advance) error { return op.Complete(*closingOf("t", 5, "early")) }
		s.operate(Opening{Payload: text("q")})
	},
	"order 0,2,1": func(s *script) {
		s.onService = func(op *Operation) error { return op.Grant(9) }
		s.inject(Ticket{})
		s.inject(Ticket{Seq: 2, Payload: text("c")})
		s.inject(Ticket{Seq: 1, Payload: text("b")})
	},
	"order 1 before 0": func(s *script) {
		s.onService = func(op *Operation) error { return op.Grant(9) }
		s.inject(Ticket{Seq: 1, Payload: text("b")})
		s.inject(Ticket{Payload: text("a")})
	},
	"duplicate 0": func(s *script) {
		s.inject(Ticket{})
		s.inject(Ticket{})
	},
	"duplicate of a held one": func(s *script) {
		s.inject(Ticket{})
		s.inject(Ticket{Seq: 2})
		s.inject(Ticket{Seq: 2})
	},
	"abort ticket overtakes a gap": func(s *script) {
		s.inject(Ticket{})
		s.inject(Ticket{Seq: 5, Termination: Cancellation})
	},
	"more payloads than allowed": func(s *script) {
		s.inject(Ticket{Payload: text("a")})
		s.inject(Ticket{Seq: 1, Payload: text("b")})
		s.inject(Ticket{Seq: 2, Payload: text("c")})
	},
	"no timeout: default of 0.2 s": func(s *script) {
		s.srvEnd.opts.DefaultTimeout = 200 * time.Millisecond
		s.inject(Ticket{})
		time.Sleep(time.Second)
	},
	"abort as the very first ticket": func(s *script) {
		s.inject(Ticket{Termination: Cancellation})
		s.inject(Ticket{Seq: 1, Payload: text("late")})
	},
	"ticket after completion": func(s *script) {
		s.inject(Ticket{Termination: Completion})
		s.inject(Ticket{Seq: 1, Payload: text("z")})
	},
	"payload, completion and allowance at once while one is held back": func(s *script) {
		s.operate(Opening{})
		s.send("1", "2")
		s.ok(s.cli.Advance(Advance{Payload: text("3"), Completion: &Closing{}, Allowance: 1}))
	},
}

// allScripts adds the traces that differ in one value.
func allScripts() map[string]func(s *script) {
	all := maps.Clone(traceScripts)
	for termination := Cancellation; termination <= RemoteFailure; termination++ {
		all["termination "+termination.String()+" received"] = func(s *script) {
			s.inject(Ticket{})
			s.inject(Ticket{Seq: 1, Termination: termination})
		}
	}
	return all
}
