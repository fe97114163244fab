package prpc

// numbered are calls by their ids, which are mostly given in order: so each has a slot of its own in a ring, unless
// an older call that takes its time has that. Those that find their slot taken are in a map. The zero value is empty.
type numbered[T any] struct {
	slots []slot[T] // as many as a power of two, or none
	rest  map[uint64]*T
	count int
}

// slot is free if value is nil.
type slot[T any] struct {
	id    uint64
	value *T
}

// A ring begins with minSlots, and has twice as many, up to maxSlots, when a slot is taken while there are more calls than half of
// them.
const (
	minSlots = 8
	maxSlots = 1024
)

// at returns the slot of an id. There must be slots.
func (n *numbered[T]) at(id uint64) *slot[T] { return &n.slots[id&uint64(len(n.slots)-1)] }

// get returns nil if there is none.
func (n *numbered[T]) get(id uint64) *T {
	if n.count == 0 {
		return nil
	}
	if s := n.at(id); s.value != nil && s.id == id {
		return s.value
	}
	return n.rest[id]
}

// put adds a call, of whose id there is none.
func (n *numbered[T]) put(id uint64, value *T) {
	n.count++
	if n.slots == nil {
		n.slots = make([]slot[T], minSlots)
	}
	for n.at(id).value != nil && n.count > len(n.slots)/2 && len(n.slots) < maxSlots {
		n.grow()
	}
	n.place(id, value)
}

// place puts a call in its slot if that is free, else in the map.
func (n *numbered[T]) place(id uint64, value *T) {
	if s := n.at(id); s.value == nil {
		*s = slot[T]{id, value}
		return
	}
	if n.rest == nil {
		n.rest = map[uint64]*T{}
	}
	n.rest[id] = value
}

// grow doubles the ring.
func (n *numbered[T]) grow() {
	old := n.slots
	n.slots = make([]slot[T], 2*len(old))
	for _, s := range old {
		if s.value != nil {
			*n.at(s.id) = s // two that had slots of their own have them still
		}
	}
}

// remove takes a call out, if it is there.
func (n *numbered[T]) remove(id uint64) {
	if n.count == 0 {
		return
	}
	if s := n.at(id); s.value != nil && s.id == id {
		*s = slot[T]{}
		n.count--
		return
	}
	if _, there := n.rest[id]; there {
		delete(n.rest, id)
		n.count--
	}
}

// each calls f with every one of them.
func (n *numbered[T]) each(f func(*T)) {
	for _, s := range n.slots {
		if s.value != nil {
			f(s.value)
		}
	}
	for _, value := range n.rest {
		f(value)
	}
}
