package links

import "sync/atomic"

// Payload is one message on its way. Whoever ends its way calls Free: a link that has written it, or the application that has read it.
// That is what gives room for the next one, so a payload that is never freed holds its sender back.
type Payload struct {
	data  []byte
	size  int
	free  func()
	owner payloadOwner
	freed atomic.Bool
	// refused payloads were too large: they have a size and no bytes.
	refused bool
}

// payloadOwner counts what is under way: the operation that sends, or the connection that received.
type payloadOwner interface{ payloadFreed(size int) }

// NewPayload makes a payload of data, which belongs to the payload until free is called. A nil free is allowed.
func NewPayload(data []byte, free func()) *Payload {
	return &Payload{data: data, size: len(data), free: free}
}

// Bytes returns the message. It may be read until Free, and must not be changed. It is nil for a payload that was refused for its size.
func (p *Payload) Bytes() []byte { return p.data }

// Size returns the size its sender stated, in bytes.
func (p *Payload) Size() int { return p.size }

// TooLarge says whether the payload was refused because of its size: it then has a size and no bytes.
func (p *Payload) TooLarge() bool { return p.refused }

// Free says that the bytes are no longer needed. Further calls do nothing. It may be called concurrently and does not block.
func (p *Payload) Free() {
	if p == nil || p.freed.Swap(true) {
		return
	}
	if p.free != nil {
		p.free()
	}
	if p.owner != nil {
		p.owner.payloadFreed(p.size)
	}
}

func freeAll(payloads []*Payload) {
	for _, p := range payloads {
		p.Free()
	}
}
