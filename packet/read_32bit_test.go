//go:build 386 || arm || mips || mipsle

package packet_test

import (
	"io"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/require"
)

// Where an int has 32 bits, a payload that fits in none is too large whatever the maximum.
func TestReadPayloadBeyondInt(t *testing.T) {
	_, err := packet.Read(&source{data: wireHeader(packet.MaxPayload+3, 2, 2, 1), step: 64}, packet.MaxPayload)
	require.Equal(t, io.ErrUnexpectedEOF, err)
}
