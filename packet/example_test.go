package packet_test

import (
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/packet"
)

func ExamplePacket_Append() {
	p := packet.Packet{Tag: 2, Request: true, Type: 1, Payload: []byte("hi")}
	wire, err := p.Append(nil)
	fmt.Printf("%x %v\n", wire, err)
	// Output: 050202016869 <nil>
}

func ExampleDecode() {
	stream := []byte{4, 2, 4, 'o', 'k', 3, 3}
	for {
		p, n, err := packet.Decode(stream)
		if errors.Is(err, packet.ErrShort) {
			fmt.Printf("%d bytes are the beginning of the next packet\n", len(stream))
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("tag %d: %s\n", p.Tag, p.Payload)
		stream = stream[n:]
	}
	// Output:
	// tag 2: ok
	// 2 bytes are the beginning of the next packet
}

// A header tells what to do with a payload that has not arrived, or should not be copied.
func ExampleParseHeader() {
	h, n, err := packet.ParseHeader([]byte{0x88, 0x80, 0x80, 0x02, 7, 0})
	fmt.Println(h.Tag, h.Size, n, err)
	// Output: 7 16777216 6 <nil>
}

func ExampleFormatError() {
	_, _, err := packet.Decode([]byte("\x01OK"))
	var format *packet.FormatError
	fmt.Println(errors.As(err, &format), format.Field)
	fmt.Println(err)
	// Output:
	// true flags
	// packet: bad flags: packet too short for its own fields
}

func ExampleAppendUint() {
	fmt.Printf("%x %x %x\n", packet.AppendUint(nil, 0), packet.AppendUint(nil, 127), packet.AppendUint(nil, 128))
	// Output: 00 7f 8100
}
