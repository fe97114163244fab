package eventstream

// fault is a message from the peer that ends the connection, and what the peer is told before.
type fault struct {
	reason string
	typ    MessageType
	text   string // the exact payload of the reference; "" if nothing is written
}

// The faults of the RPC protocol. The texts are what the reference library sends.
var (
	faultHandshake = &fault{"message out of turn in the handshake", MessageTypeProtocolError,
		`{ "message": "A CONNECT message must be received, and the CONNECT_ACK must be sent in response, ` +
			`before any other message-types can be sent on this connection. In addition, only one CONNECT ` +
			`message is allowed on a connection." }`}
	faultStreamType = &fault{"message type not allowed on a stream", MessageTypeProtocolError,
		`{ "message": "non-zero stream-id field is only allowed for messages of type APPLICATION_MESSAGE. ` +
			`The stream id max value is INT32_MAX." }`}
	faultType = &fault{"message type not allowed on the connection", MessageTypeProtocolError,
		`{ "message": "an invalid value for message-type field was received." }`}
	faultLower = &fault{"message on a stream that is not open", MessageTypeProtocolError,
		`{ "message": "stream-id values must be monotonically incrementing. A stream-id arrived that was ` +
			`lower than the last seen stream-id." }`}
	faultGap = &fault{"stream id gap", MessageTypeProtocolError,
		`{ "message": "stream-id values must be monotonically incrementing. A new stream-id arrived that ` +
			`was incremented by more than 1." }`}
	faultMissing = &fault{"required header missing", MessageTypeProtocolError,
		`{ "message": "A message was received with missing required fields. Check that your client is ` +
			`sending at least, :message-type, :message-flags, and :stream-id" }`}
	// The reference's text is not JSON; peers that compare it would notice a correction.
	faultOperation = &fault{"stream opened without an operation", MessageTypeProtocolError,
		`{ "message": "The first message for on a non-zero :stream-id must contain an operation header value."; }`}
	faultInternal = &fault{"malformed header", MessageTypeInternalError,
		`{ "message": "An error occurred on the peer endpoint. This is not likely caused by your endpoint." }`}

	// faultSilent is a message that a client meets before CONNECT_ACK: it may not write then.
	faultSilent = &fault{reason: "message before the handshake was finished"}
)

// message is what the peer is told, or nil.
func (f *fault) message() *Message {
	if f.text == "" {
		return nil
	}
	return &Message{Type: f.typ, Headers: Headers{String(headerContentType, "application/json")}, Payload: []byte(f.text)}
}

// handshake is how far a connection's handshake has come.
type handshake int

const (
	handshakeNone    handshake = iota // no CONNECT yet
	handshakeConnect                  // CONNECT, and no CONNECT_ACK
	handshakeDone                     // CONNECT_ACK, be it accepting or not
)

// action is what a state machine wants done with a message.
type action int

const (
	actProtocol action = iota // hand it to the application: a message of the connection
	actOpen                   // open a stream with it
	actDeliver                // hand it to its stream
	actIgnore                 // drop it
	actFail                   // end the connection
)

// verdict is a state machine's decision about one message.
type verdict struct {
	action action
	fault  *fault // of actFail
}

func fail(f *fault) verdict { return verdict{actFail, f} }
