package eventstream

import "math"

// clientState is the client's side of the RPC protocol, without I/O: which messages may be sent and
// what those received mean.
type clientState struct {
	phase   handshake
	last    int32 // the highest stream id given away
	streams map[int32]*Continuation
}

// receive judges a message from the server. A stream that the message terminates is no longer open
// when it returns.
func (s *clientState) receive(e envelope) (verdict, *Continuation) {
	if s.phase != handshakeDone {
		if s.phase == handshakeConnect && e.typ == MessageTypeConnectAck && e.stream == 0 {
			s.phase = handshakeDone
			return verdict{action: actProtocol}, nil
		}
		return fail(faultSilent), nil
	}
	if e.stream == 0 {
		return s.receiveOnConnection(e), nil
	}
	if !e.typ.onStream() {
		return fail(faultStreamType), nil
	}
	if k := s.streams[e.stream]; k != nil {
		if e.terminates() {
			delete(s.streams, e.stream)
		}
		return verdict{action: actDeliver}, k
	}
	if e.stream > 0 && e.stream <= s.last {
		return verdict{action: actIgnore}, nil
	}
	return fail(faultLower), nil
}

func (s *clientState) receiveOnConnection(e envelope) verdict {
	switch {
	case !e.typ.onConnection():
		return fail(faultType)
	case e.typ == MessageTypeConnectAck:
		return fail(faultHandshake)
	}
	return verdict{action: actProtocol}
}

// send judges a message that the application wants to send on the connection.
func (s *clientState) send(t MessageType) error {
	if !t.onConnection() {
		return ErrMessageType
	}
	if s.phase == handshakeNone && t == MessageTypeConnect {
		s.phase = handshakeConnect
		return nil
	}
	if s.phase != handshakeDone || t == MessageTypeConnect || t == MessageTypeConnectAck {
		return ErrHandshake
	}
	return nil
}

// open gives k the next stream id.
func (s *clientState) open(k *Continuation) (int32, error) {
	if s.phase != handshakeDone {
		return 0, ErrHandshake
	}
	if s.last == math.MaxInt32 {
		return 0, ErrStreamIDs
	}
	s.last++
	s.streams[s.last] = k
	return s.last, nil
}
