package prpc

import "slices"

// ConnState is the state of a connection.
//
//	New          → Pending
//	Pending      → Connected
//	Connected    → Disconnected, Closing
//	Disconnected → Connected, Closing
//	Closing      → Closed
//
// An error may take New and Pending to Closing too. Disconnected is entered only
// by a client with Options.Reconnect.
type ConnState uint8

// The connection states, with the numbers of the original.
const (
	ConnNew          ConnState = 0
	ConnPending      ConnState = 10 // the carrier is open, the handshake is not over
	Connected        ConnState = 20
	ConnDisconnected ConnState = 30 // the carrier is lost and a new one is sought
	ConnClosing      ConnState = 40
	ConnClosed       ConnState = 50
)

// String returns the name the protocol gives to the state.
func (s ConnState) String() string {
	return name(connStateNames[:], int(s), "ConnState")
}

var connStateNames = [...]string{
	ConnNew: "NEW", ConnPending: "PENDING", Connected: "CONNECTED",
	ConnDisconnected: "DISCONNECTED", ConnClosing: "CLOSING", ConnClosed: "CLOSED",
}

var connNext = [...][]ConnState{
	ConnNew:          {ConnPending, ConnClosing},
	ConnPending:      {Connected, ConnClosing},
	Connected:        {ConnDisconnected, ConnClosing},
	ConnDisconnected: {Connected, ConnClosing},
	ConnClosing:      {ConnClosed},
	ConnClosed:       nil,
}

// next lists the states that may follow.
func (s ConnState) next() []ConnState { return connNext[s] }

// CallState is the state of a call on one of its ends.
//
//	New       → Sending (caller), Accepting (callee)
//	Sending   → Finished, Cancelled
//	Accepting → Accepted
//	Accepted  → Finished, Cancelled
//
// An error may take any state but the last two to Finished: Accepting goes there when
// the method is not found.
type CallState uint8

// The call states, with the numbers of the original.
const (
	CallNew       CallState = 0
	CallSending   CallState = 10
	CallAccepting CallState = 20
	CallAccepted  CallState = 30
	CallCancelled CallState = 40
	CallFinished  CallState = 50
)

// String returns the name the protocol gives to the state.
func (s CallState) String() string {
	return name(callStateNames[:], int(s), "CallState")
}

var callStateNames = [...]string{
	CallNew: "NEW", CallSending: "SENDING", CallAccepting: "ACCEPTING",
	CallAccepted: "ACCEPTED", CallCancelled: "CANCELLED", CallFinished: "FINISHED",
}

var callNext = [...][]CallState{
	CallNew:       {CallSending, CallAccepting, CallFinished},
	CallAccepting: {CallAccepted, CallCancelled, CallFinished},
	CallSending:   {CallFinished, CallCancelled},
	CallAccepted:  {CallFinished, CallCancelled},
	CallCancelled: nil,
	CallFinished:  nil,
}

// next lists the states that may follow.
func (s CallState) next() []CallState { return callNext[s] }

// StreamState is the state of a stream on one of its ends.
//
//	New     → Open, Closed
//	Open    → Closing
//	Closing → Closed
//
// A closing stream takes nothing more, but holds messages that were not read yet;
// one that holds none passes through Closing at once.
type StreamState uint8

// The stream states, with the numbers of the original.
const (
	StreamNew     StreamState = 0
	StreamOpen    StreamState = 10
	StreamClosing StreamState = 20
	StreamClosed  StreamState = 30
)

// String returns the name the protocol gives to the state.
func (s StreamState) String() string {
	return name(streamStateNames[:], int(s), "StreamState")
}

var streamStateNames = [...]string{
	StreamNew: "NEW", StreamOpen: "OPEN", StreamClosing: "CLOSING", StreamClosed: "CLOSED",
}

var streamNext = [...][]StreamState{
	StreamNew:     {StreamOpen, StreamClosed},
	StreamOpen:    {StreamClosing},
	StreamClosing: {StreamClosed},
	StreamClosed:  nil,
}

// next lists the states that may follow.
func (s StreamState) next() []StreamState { return streamNext[s] }

// StreamMode says what an end may do with its side of a stream.
type StreamMode uint8

// The stream modes; a bidirectional stream has both.
const (
	StreamRead  StreamMode = 1
	StreamWrite StreamMode = 2
)

// String returns the names the protocol gives to the mode.
func (m StreamMode) String() string {
	return name(streamModeNames[:], int(m), "StreamMode")
}

var streamModeNames = [...]string{StreamRead: "READ", StreamWrite: "WRITE", StreamRead | StreamWrite: "READ|WRITE"}

// tabled is a type of states with a table of what may follow each.
type tabled[S any] interface {
	comparable
	follower[S]
}

type follower[S any] interface{ next() []S }

var (
	_ follower[ConnState]   = ConnNew
	_ follower[CallState]   = CallNew
	_ follower[StreamState] = StreamNew
)

// machine is a state that changes only along its table.
type machine[S tabled[S]] struct {
	now S
}

// to changes the state, and reports whether the table allows it.
func (m *machine[S]) to(s S) bool {
	if !slices.Contains(m.now.next(), s) {
		return false
	}
	m.now = s
	return true
}
