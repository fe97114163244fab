package links

import "fmt"

// OutcomeKind is how an operation ended, as one side sees it.
type OutcomeKind uint8

// The kinds of outcome.
const (
	Completed OutcomeKind = iota + 1
	Cancelled
	Expired
	LocalShutdown
	RemoteShutdown
	ReceptionFailed
	TransmissionFailed
	LocallyFailed
	RemotelyFailed
)

var outcomeNames = [...]string{"", "COMPLETED", "CANCELLED", "EXPIRED", "LOCAL_SHUTDOWN", "REMOTE_SHUTDOWN", "RECEPTION_FAILURE",
	"TRANSMISSION_FAILURE", "LOCAL_FAILURE", "REMOTE_FAILURE"}

// String returns the name the original uses.
func (k OutcomeKind) String() string { return nameOf(outcomeNames[:], int(k), "outcome") }

// Outcome is the one end of an operation. Code and Message are what the peer gave with it, each of which may be absent.
type Outcome struct {
	Kind    OutcomeKind
	Code    *uint32
	Message *string
}

// String returns the kind with the code and the message where there are any.
func (o Outcome) String() string {
	text := o.Kind.String()
	if o.Code != nil {
		text += fmt.Sprintf(" (code %d)", *o.Code)
	}
	if o.Message != nil && *o.Message != "" {
		text += ": " + *o.Message
	}
	return text
}

// received maps what the peer says of its end of the operation to what that means here: a failure there is the other side's failure.
func (t Termination) received() OutcomeKind {
	switch t {
	case Completion:
		return Completed
	case Cancellation:
		return Cancelled
	case Expiration:
		return Expired
	case Shutdown:
		return RemoteShutdown
	case ReceptionFailure:
		return ReceptionFailed
	case TransmissionFailure:
		return TransmissionFailed
	case LocalFailure:
		return RemotelyFailed
	default:
		return LocallyFailed
	}
}

// sent maps an outcome decided here to what the peer is told: 0 where no ticket goes out, because the peer knows or cannot be reached.
func (k OutcomeKind) sent() Termination {
	switch k {
	case Cancelled:
		return Cancellation
	case Expired:
		return Expiration
	case LocalShutdown:
		return Shutdown
	case ReceptionFailed:
		return ReceptionFailure
	case LocallyFailed:
		return LocalFailure
	case RemotelyFailed:
		return RemoteFailure
	default:
		return 0
	}
}
