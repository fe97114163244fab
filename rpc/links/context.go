package links

import (
	"context"
	"time"
)

// Context returns a context that ends with the operation: with context.DeadlineExceeded if it expired, else with context.Canceled.
func (op *Operation) Context() context.Context { return (*operationContext)(op) }

// operationContext is an Operation seen as a context, so that the context of each operation costs no memory of its own.
type operationContext Operation

func (c *operationContext) op() *Operation { return (*Operation)(c) }

func (c *operationContext) Deadline() (time.Time, bool) { return c.op().Deadline() }

func (c *operationContext) Done() <-chan struct{} { return c.op().Done() }

func (c *operationContext) Err() error {
	outcome, ended := c.op().Outcome()
	switch {
	case !ended:
		return nil
	case outcome.Kind == Expired:
		return context.DeadlineExceeded
	default:
		return context.Canceled
	}
}

func (c *operationContext) Value(any) any { return nil }

// AfterFunc lets contexts made from this one end with it without a goroutine each, see context.AfterFunc.
func (c *operationContext) AfterFunc(f func()) (stop func() bool) {
	action := &endAction{func(Outcome) error {
		f()
		return nil
	}}
	c.op().addEndAction(action)
	return func() bool { return c.op().removeEndAction(action) }
}
