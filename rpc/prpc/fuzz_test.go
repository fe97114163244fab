package prpc_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
)

func seeds(f *testing.F) {
	for _, m := range loadVectors(f).Messages {
		b, err := hex.DecodeString(m.Hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(bytes.Repeat([]byte{0x91}, 600))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x93, 4, 1, 0x81, 0xd4, 5, 1, 1})
}

// FuzzParse: a message is refused with a ProtocolError, or can be built again and is the same then.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		err := prpc.Parse(b, prpc.Limits{})
		var pe *prpc.ProtocolError
		if err != nil && !errors.As(err, &pe) {
			t.Fatalf("%v is no ProtocolError", err)
		}
	})
}

// FuzzDecode: what the scanner lets through can be decoded, and what was decoded
// has one encoding.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if prpc.Decode(b, prpc.Limits{Depth: 400}, &v) != nil {
			return
		}
		once, err := prpc.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		var again any
		if err := prpc.Decode(once, prpc.Limits{}, &again); err != nil {
			t.Fatal(err)
		}
		twice, err := prpc.Encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%x and %x, %v", once, twice, err)
		}
	})
}

// FuzzConn: whatever a peer sends behind the handshake, split anywhere, the connection ends with
// an error it can name or lives until it is closed, and leaves nothing behind.
func FuzzConn(f *testing.F) {
	seeds(f)
	methods, err := prpctest.Services()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := newPipe()
		handshake, err := prpc.Encode(helloServer)
		if err != nil {
			t.Fatal(err)
		}
		theirs.out <- handshake
		theirs.out <- b
		theirs.out <- b
		c, err := prpc.Accept(t.Context(), ours, &prpc.Options{Methods: methods, CallDelay: -1})
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.Start(t.Context(), prpc.BiStream, "x")
		if err == nil {
			theirs.out <- b
			call.Cancel()
		}
		theirs.drop()
		c.Wait()
		var pe *prpc.ProtocolError
		if err := c.Err(); !errors.As(err, &pe) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("ended with %v", err)
		}
	})
}
