package eventstream

// serverState is the server's side of the RPC protocol, without I/O.
type serverState struct {
	phase   handshake
	last    int32 // the highest stream id seen
	streams map[int32]*ServerStream
}

// receive judges a message from the client. A stream that the message terminates is no longer open
// when it returns; one that it opens is for the caller to add.
func (s *serverState) receive(e envelope) (verdict, *ServerStream) {
	if s.phase != handshakeDone && e.typ != MessageTypeConnect {
		return fail(faultHandshake), nil
	}
	if e.stream == 0 {
		return s.receiveOnConnection(e), nil
	}
	if !e.typ.onStream() || e.stream < 0 {
		return fail(faultStreamType), nil
	}
	if st := s.streams[e.stream]; st != nil {
		if e.terminates() {
			delete(s.streams, e.stream)
		}
		return verdict{action: actDeliver}, st
	}
	switch {
	case e.stream <= s.last && e.terminates():
		// Both ends terminated at once.
		return verdict{action: actIgnore}, nil
	case e.stream <= s.last:
		return fail(faultLower), nil
	case e.stream > s.last+1:
		return fail(faultGap), nil
	case e.operation == "":
		return fail(faultOperation), nil
	}
	s.last = e.stream
	return verdict{action: actOpen}, nil
}

func (s *serverState) receiveOnConnection(e envelope) verdict {
	if !e.typ.onConnection() {
		return fail(faultType)
	}
	if e.typ == MessageTypeConnect {
		if s.phase != handshakeNone {
			return fail(faultHandshake)
		}
		s.phase = handshakeConnect
	}
	return verdict{action: actProtocol}
}

// send judges a message that the application wants to send on the connection.
func (s *serverState) send(t MessageType) error {
	switch t {
	case MessageTypeProtocolError, MessageTypeInternalError:
		if s.phase == handshakeNone {
			return ErrHandshake
		}
	case MessageTypePing, MessageTypePingResponse:
		if s.phase != handshakeDone {
			return ErrHandshake
		}
	case MessageTypeConnect, MessageTypeConnectAck:
		return ErrHandshake
	default:
		return ErrMessageType
	}
	return nil
}
