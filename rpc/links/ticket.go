package links

import (
	"fmt"
	"time"
)

// OperationID names an operation on one hop, between a link and its mate. Every link may rename the operations that pass through it.
//
// On the hop between an [End] and its link the lowest bit says who began the operation: 0 for the end's own, 1 for those that come from
// beyond the link. So both sides of a hop number their operations without asking each other.
type OperationID uint64

// fromBeyond says whether the operation was begun beyond the link, as the link's mate sees it.
func (id OperationID) fromBeyond() bool { return id&1 == 1 }

// Ticket is one step of an operation in one direction: everything one side has to say at that moment. A ticket is never changed once it
// was handed to a [Link]; every field but ID and Seq may be absent, which is its zero value.
type Ticket struct {
	// ID is the operation's name on this hop.
	ID OperationID
	// Seq counts the tickets of this operation and direction from 0.
	Seq uint64
	// Group and Method choose the service. They are in ticket 0 from the invocation side and ignored elsewhere.
	Group, Method string
	// Subscription is what the sender wants to hear. It is stated in the first ticket; absence and repetition later are tolerated.
	Subscription Subscription
	// Timeout is counted from the start of the operation. On later tickets it asks for another time, or says which one is now used.
	Timeout time.Duration
	// Allowance is how many more payloads the other side may send.
	Allowance uint32
	// Initial is the metadata at the start: nil is absent, empty is present. It goes at most once a side, no later than the first payload.
	Initial Metadata
	// Payload is one message: nil is absent, a payload without bytes is a message.
	Payload *Payload
	// Terminal is the metadata at the end, in the ticket that completes.
	Terminal Metadata
	// Code and Message are the status at the end, each of which may be absent.
	Code    *uint32
	Message *string
	// Termination ends this direction. After COMPLETION only grants may follow, since a side that sends no more goes on reading.
	Termination Termination
	// Protocol is between the application and the link next to it.
	Protocol *Protocol

	// maxPayload is the largest payload the sender's end takes for this operation; it is for the next link only and does not travel.
	maxPayload int
}

// onlyGrants says whether the ticket carries credit and nothing else.
func (t *Ticket) onlyGrants() bool { return t.saysNothing() && t.Timeout == 0 }

// saysNothing says whether the ticket may follow a completion: it speaks of credit and time only.
func (t *Ticket) saysNothing() bool {
	return t.Payload == nil && t.Initial == nil && t.Terminal == nil && t.Termination == 0 && t.Code == nil && t.Message == nil &&
		t.Protocol == nil && t.Group == "" && t.Method == ""
}

// Pair is one entry of metadata. The value is any bytes.
type Pair struct{ Key, Value string }

// Metadata is an ordered list of pairs. Keys may repeat.
type Metadata []Pair

// Values returns the values under key, in order.
func (m Metadata) Values(key string) []string {
	var values []string
	for _, pair := range m {
		if pair.Key == key {
			values = append(values, pair.Value)
		}
	}
	return values
}

// Subscription is what one side of an operation wants to hear of the other.
type Subscription uint8

// The kinds of subscription. Only SubscriptionFull is of use to an [End].
const (
	SubscriptionNone Subscription = iota + 1
	SubscriptionTermination
	SubscriptionFull
)

var subscriptionNames = [...]string{"", "NONE", "TERMINATION", "FULL"}

// String returns the name the original uses.
func (s Subscription) String() string { return nameOf(subscriptionNames[:], int(s), "subscription") }

// Termination is how a direction of an operation ended.
type Termination uint8

// The kinds of termination. All but Completion are aborts: they end the whole operation at once.
const (
	Completion Termination = iota + 1
	Cancellation
	Expiration
	Shutdown
	ReceptionFailure
	TransmissionFailure
	LocalFailure
	RemoteFailure
)

var terminationNames = [...]string{"", "COMPLETION", "CANCELLATION", "EXPIRATION", "SHUTDOWN", "RECEPTION_FAILURE",
	"TRANSMISSION_FAILURE", "LOCAL_FAILURE", "REMOTE_FAILURE"}

// String returns the name the original uses.
func (t Termination) String() string { return nameOf(terminationNames[:], int(t), "termination") }

// Abort says whether the termination ends the operation at once, overtaking whatever was sent before it.
func (t Termination) Abort() bool { return t > Completion && t <= RemoteFailure }

// ProtocolKind says between whom a [Protocol] value goes.
type ProtocolKind uint8

// The kinds of protocol values.
const (
	// CallOption goes from the invoker to the link next to it, in ticket 0.
	CallOption ProtocolKind = iota + 1
	// ServicerContext goes from a link to the servicer, in ticket 0.
	ServicerContext
	// InvocationContext goes from a link to the invoker, in ticket 0 of the way back.
	InvocationContext
)

var protocolNames = [...]string{"", "CALL_OPTION", "SERVICER_CONTEXT", "INVOCATION_CONTEXT"}

// String returns the name the original uses.
func (k ProtocolKind) String() string { return nameOf(protocolNames[:], int(k), "protocol") }

// Protocol is what an application and the link next to it tell each other. A [Conn] hands a CallOption to the servicer at the far end as
// a ServicerContext, and what the servicer puts in its first ticket to the invoker as an InvocationContext.
type Protocol struct {
	Kind  ProtocolKind
	Value Metadata
}

func nameOf(names []string, i int, kind string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s(%d)", kind, i)
}
