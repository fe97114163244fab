package links

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"
)

// FuzzDecode takes any bytes as a frame. A ticket that is accepted is written again as the same bytes: every frame has one form.
func FuzzDecode(f *testing.F) {
	for _, frame := range sampleFrames() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decoder{maxMetadata: DefaultMaxMetadata}
		var got frame
		if d.decode(data, &got) != nil || got.kind != frameTicket {
			return
		}
		ticket := &got.in.ticket
		if ticket.Payload != nil {
			ticket.Payload.size = int(got.total)
		}
		again := appendTicket(nil, got.id, got.seq, got.mask&hasMethod != 0, got.window, ticket, got.piece)
		if !bytes.Equal(again, data) {
			t.Fatalf("%x was read, and is written as %x", data, again)
		}
	})
}

// FuzzConn takes any bytes as what a peer sends after HELLO. Nothing of it may panic, and what it leaves behind is bounded.
func FuzzConn(f *testing.F) {
	var all []byte
	for _, frame := range sampleFrames() {
		all = append(binary.AppendUvarint(all, uint64(len(frame))), frame...)
		f.Add(append(binary.AppendUvarint(nil, uint64(len(frame))), frame...), false)
	}
	f.Add(all, false)
	f.Add(all, true)
	f.Fuzz(func(t *testing.T, data []byte, unordered bool) {
		conn, err := NewConn(&silent{closed: make(chan struct{})}, &ConnOptions{Unordered: unordered, Window: minWindow})
		if err != nil {
			t.Fatal(err)
		}
		service := NewEnd(ServicerFunc(echo), &EndOptions{AutoGrant: 2, ServiceEnds: true})
		_ = service.Start()
		service.Join(conn)
		conn.near.set(service)
		hello := appendHello(nil, 1, plainSettings)
		if err := conn.take(hello); err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			var frame []byte
			frame, data = NextFrame(data)
			if frame == nil || conn.take(frame) != nil {
				break
			}
		}
		conn.mu.Lock()
		n := len(conn.byHop)
		conn.mu.Unlock()
		if n > 2*DefaultMaxOperations {
			t.Fatalf("%d operations", n)
		}
		conn.Close()
		<-service.Stop(0)
	})
}

// silent is a carrier on which nothing comes and into which everything goes.
type silent struct{ closed chan struct{} }

func (s *silent) ReadFrame() ([]byte, error) {
	<-s.closed
	return nil, io.EOF
}

func (s *silent) WriteFrames([]byte) error { return nil }

func (s *silent) Close() error {
	close(s.closed)
	return nil
}

func sampleFrames() [][]byte {
	full := Ticket{Group: "g", Method: "m", Subscription: SubscriptionFull, Timeout: time.Second, Allowance: 3, Initial: Metadata{{"k", "v"}, {"x-bin", "\x00"}},
		Payload: NewPayload([]byte("payload"), nil), Terminal: Metadata{{"t", ""}}, Code: pointer[uint32](5), Message: pointer("m"),
		Termination: Completion, Protocol: &Protocol{Kind: CallOption, Value: Metadata{{"o", "1"}}}}
	piece := []byte("pay")
	return [][]byte{
		appendHello(nil, 1, plainSettings),
		appendTicket(nil, 1, 0, true, 9, &full, full.Payload.data),
		begin(3, Ticket{Payload: &Payload{size: 7}}, piece),
		appendMore(nil, 3, 0, 3, []byte("load")),
		appendTicket(nil, 3, 1, false, 0, &Ticket{Termination: Cancellation}, nil),
		begin(5, Ticket{Payload: &Payload{size: 1 << 30}}, piece),
		appendMore(nil, 5, 0, 3, []byte("load")),
		appendGrant(nil, 1, 5, 1000),
		appendPing(nil, framePing, [8]byte{1}),
		appendPing(nil, framePong, [8]byte{1}),
		appendGoAway(nil, 7, "reason"),
		{frameTicket, 1, 0, 0},
		{99},
	}
}
