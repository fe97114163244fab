package pconn

import (
	"fmt"
	"time"
)

// InFlight is one request or stream that is not finished.
type InFlight struct {
	Out     bool // ours, rather than the peer's
	Channel uint64
	Tag     uint64
	Type    uint64
	Age     time.Duration
	State   InFlightState
}

func (f InFlight) String() string {
	dir := "in"
	if f.Out {
		dir = "out"
	}
	return fmt.Sprintf("%s channel %d tag %d type %d %s for %v", dir, f.Channel, f.Tag, f.Type, f.State, f.Age.Round(time.Millisecond))
}

// InFlightState says what a request is waiting for.
type InFlightState uint8

const (
	// StateSent is a request of ours whose response has not come.
	StateSent InFlightState = iota
	// StateNotified is a request of ours whose response will be dropped when it comes.
	StateNotified
	// StateQueued is a request of the peer that waits for a handler's place.
	StateQueued
	// StateAtWork is a request of the peer whose handler is at work.
	StateAtWork
	// StateCalling is a request of the peer whose handler waits in a call on this connection.
	StateCalling
	// StateStream is a stream, whose number is in Tag and of which Channel, Type and Age say nothing.
	StateStream
)

func (s InFlightState) String() string {
	return [...]string{"sent", "notified", "queued", "at work", "calling", "stream"}[s]
}

// InFlight lists what is outstanding, both ways, in no order. It does not wait; with thousands of requests it
// holds them up while it lists them.
func (c *Conn) InFlight() []InFlight {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock()
	list := make([]InFlight, 0, c.st.calls.n+c.st.incoming.n)
	c.st.calls.all(func(call *call) {
		f := InFlight{Out: true, Channel: call.channel, Tag: call.tag, Type: call.typ, Age: now.since(call.begun)}
		if call.kind == callDropped {
			f.State = StateNotified
		}
		list = append(list, f)
	})
	c.st.incoming.all(func(in *incoming) { list = append(list, in.inFlight(now)) })
	for _, s := range c.st.streams.ours {
		list = append(list, s.inFlight())
	}
	for _, s := range c.st.streams.theirs {
		list = append(list, s.inFlight())
	}
	return list
}

func (s *Stream) inFlight() InFlight {
	return InFlight{Out: s.ours, Channel: reservedChannel, Tag: s.id, State: StateStream}
}

func (in *incoming) inFlight(now instant) InFlight {
	f := InFlight{Channel: in.channel, Tag: in.tag, Type: in.typ, Age: now.since(in.begun), State: StateQueued}
	switch {
	case in.waits > 0:
		f.State = StateCalling
	case in.state == incomingAtWork:
		f.State = StateAtWork
	}
	return f
}

// handlersAtWork lists the requests and streams whose handlers have begun.
func (c *Conn) handlersAtWork() []InFlight {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock()
	var list []InFlight
	c.st.incoming.all(func(in *incoming) {
		if in.state == incomingAtWork {
			list = append(list, in.inFlight(now))
		}
	})
	for s := range c.st.streams.serving {
		list = append(list, s.inFlight())
	}
	return list
}
