package links

// queue is first in, first out, and uses its memory again. Its zero value is ready.
type queue[T any] struct {
	items []T // the first ones up to head are taken
	head  int
}

// keptItems is for how many items an empty queue keeps its memory.
const keptItems = 16

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(item T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

// first is the next one to be popped, of a queue that is not empty.
func (q *queue[T]) first() T { return q.items[q.head] }

func (q *queue[T]) pop() T {
	item := q.items[q.head]
	clear(q.items[q.head : q.head+1])
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keptItems {
			q.items = nil
		}
	}
	return item
}

// waiting are those in the queue, in their order. They are valid until the next push or pop.
func (q *queue[T]) waiting() []T { return q.items[q.head:] }
