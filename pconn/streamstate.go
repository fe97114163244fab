package pconn

// streamState is how far the two directions of a stream have come, as this end sees it. Each direction is
// ended by a frame of its sender, END or RESET, and the stream is over when both are. PROTOCOL.md,
// "Streams", has the same as a table.
//
//	what we send:  open ──CloseWrite, the peer's STOP──▶ ending ──END sent──▶ ended
//	               open, ending ──RESET sent──▶ ended
//	what we take:  open ──STOP sent──▶ stopped ──END──▶ ended
//	               open, stopped ──RESET sent──▶ abandoned ──END, RESET──▶ ended
//	               open, stopped ──RESET──▶ ended, and if we still send, RESET is the answer
type streamState struct {
	out outState
	in  inState
}

type outState uint8

const (
	outOpen   outState = iota
	outEnding          // END follows the data that is queued
	outEnded           // END or RESET is on its way
)

type inState uint8

const (
	inOpen      inState = iota
	inStopped           // we want no more: what comes is dropped, until the peer's END
	inAbandoned         // we have sent RESET: what comes is dropped, until the peer's END or RESET
	inEnded             // the peer has sent END or RESET
)

// over says that no frame of the stream can follow but those that cross: CREDIT, STOP and RESET.
func (s streamState) over() bool { return s.out == outEnded && s.in == inEnded }

// frameAct is what is to be done about a frame.
type frameAct uint8

const (
	actTake    frameAct = iota // do what it says
	actDrop                    // it crossed something of ours, or says what was said before
	actViolate                 // the peer breaks the protocol
)

// streamEvent is a kind of frame about a stream that exists or existed.
type streamEvent uint8

const (
	streamData streamEvent = iota
	streamEnd
	streamStop
	streamReset
	streamCredit
)

// act says what is to be done about a frame on a stream that is not over. It is the state table.
func (s streamState) act(f streamEvent) frameAct {
	switch f {
	case streamData:
		switch s.in {
		case inOpen:
			return actTake
		case inStopped, inAbandoned:
			return actDrop
		}
		return actViolate
	case streamEnd:
		if s.in == inEnded {
			return actViolate
		}
		return actTake
	case streamReset:
		return actTake
	}
	// STOP and CREDIT are about what we send.
	if s.out == outEnded {
		return actDrop
	}
	return actTake
}

// actOver is act for a stream that is over, or was refused and forgotten.
func actOver(f streamEvent) frameAct {
	if f == streamData || f == streamEnd {
		return actViolate
	}
	return actDrop
}
