// Package pool keeps children of one command running behind one caller: one that is restarted when it ends, or several
// that share the calls.
//
//	p, err := pool.Start(ctx, func() *exec.Cmd { return exec.Command("helper") }, &pool.Options{Size: 4})
//	if err != nil { … }
//	defer p.Close()
//	resp, err := p.Do(ctx, pconn.Request{Type: greet, Payload: []byte("Ada"), Idempotent: true})
//
// # What becomes of calls when a child ends
//
// A call goes to the child that has the fewest in flight. If that child ends before it has answered, whoever waited
// gets its *endpoint.ExitError, which says which child it was, how it ended and what it said last, but for two kinds
// of calls:
//
//   - one of which nothing had been written moves to another child by itself;
//   - one whose Request.Idempotent is set is repeated, up to Options.Repeats times, since it does no harm to ask twice.
//
// New calls wait, within their context, while no child is there. When children keep failing (Options.Failures of them
// in a row, without an answer) calls fail at once with an *UnavailableError, until a child is there again.
//
// # Restart
//
// A child that has ended is followed by another, as soon as all of it is gone: after Options.MinDelay if it has
// answered a call or lived for a while, and else after twice the delay each time, up to Options.MaxDelay. It goes on
// for as long as the Pool is open.
//
// [Pool.Replace] puts new children in the place of all, one by one, and lets the old ones finish what they were asked:
// a new version of the program takes over without a lost call.
package pool
