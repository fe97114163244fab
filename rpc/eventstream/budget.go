package eventstream

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// budget bounds the bytes that a queue holds. Waiters are served in order.
type budget struct {
	sem *semaphore.Weighted
	max int64
}

func newBudget(size int) *budget {
	return &budget{sem: semaphore.NewWeighted(int64(size)), max: int64(size)}
}

// weight is what a message of size bytes takes of the budget. One that is larger than all of it takes
// all of it, so that every message fits once the queue is empty.
func (b *budget) weight(size int) int64 { return min(int64(size)+messageOverhead, b.max) }

// take waits until weight is free, or until ctx or conn ends. It returns ctx's error or conn's cause.
func (b *budget) take(ctx, conn context.Context, weight int64) error {
	if b.sem.TryAcquire(weight) {
		return nil
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(conn, cancel)()
	if b.sem.Acquire(both, weight) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.Cause(conn)
}

func (b *budget) tryTake(weight int64) bool { return b.sem.TryAcquire(weight) }

func (b *budget) give(weight int64) {
	if weight > 0 {
		b.sem.Release(weight)
	}
}
