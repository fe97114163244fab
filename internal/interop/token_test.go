package interop

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/packetstream/packetstream/packet"
)

// Packets are compared as text, in which the library's own requests are numbered from 1 in the order they were
// sent instead of by their tags: the two releases and this module choose tags differently.

const (
	eofToken = "EOF"
	erqToken = "ERQ"
	endToken = "end of stream"
)

// recorded makes a wirePacket of a packet.
func recorded(p *packet.Packet) *wirePacket {
	number := func(v uint64) json.Number { return json.Number(strconv.FormatUint(v, 10)) }
	return &wirePacket{Tag: number(p.Tag), IsRequest: p.Request, Flags: number(p.Flags), Channel: number(p.Channel),
		RqType: number(p.Type), Payload: p.Payload}
}

// tags are the tags of one end's requests on channel 0, in order.
type tags []json.Number

// number returns which request has the tag, from 1, or 0.
func (ts tags) number(tag json.Number) int {
	for i, t := range ts {
		if t == tag {
			return i + 1
		}
	}
	return 0
}

// token is a packet as text. If it is a request it is added to own. A response is told by the number of
// its request among the peer's, if those are numbered, else by its tag.
func (p *wirePacket) token(own *tags, peers tags) string {
	switch {
	case p.isEOF():
		return eofToken
	case p.isERQ():
		return erqToken
	case p.IsRequest && p.Channel != "0":
		return fmt.Sprintf("request channel=%s wiretype=%s flags=%s %q", p.Channel, p.RqType, p.Flags, p.Payload)
	case p.IsRequest:
		*own = append(*own, p.Tag)
		return fmt.Sprintf("request #%d wiretype=%s flags=%s %q", len(*own), p.RqType, p.Flags, p.Payload)
	}
	to := "tag=" + string(p.Tag)
	if n := peers.number(p.Tag); n != 0 {
		to = fmt.Sprintf("#%d", n)
	}
	return fmt.Sprintf("response %s channel=%s wireflags=%s %q", to, p.Channel, p.Flags, p.Payload)
}

// packet returns a recorded packet that raw can send.
func (p *wirePacket) packet() (packet.Packet, error) {
	var err error
	number := func(n json.Number) uint64 {
		if n == "" {
			return 0
		}
		v, e := strconv.ParseUint(string(n), 10, 64)
		if e != nil {
			err = e
		}
		return v
	}
	q := packet.Packet{Channel: number(p.Channel), Tag: number(p.Tag), Flags: number(p.Flags), Type: number(p.RqType),
		Request: p.IsRequest, Payload: p.Payload}
	return q, err
}
