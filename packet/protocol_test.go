package packet_test

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples in docs/PROTOCOL.md are what this package writes.
func TestProtocolExamples(t *testing.T) {
	text, err := os.ReadFile("../docs/PROTOCOL.md")
	require.NoError(t, err)
	examples := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| ([^|]+) \\| `([0-9a-f ]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		examples[m[1]] = strings.ReplaceAll(m[2], " ", "")
	}
	for name, p := range map[string]packet.Packet{
		"request, tag 2, type 0 in the API, payload `hi`":                         {Tag: 2, Request: true, Type: 1, Payload: []byte("hi")},
		"its ok response, flags 0, payload `ok`":                                  {Tag: 2, Flags: 1, Payload: []byte("ok")},
		"request, tag 200, channel 300, flags 8, type 300 in the API, no payload": {Tag: 200, Channel: 300, Flags: 8, Request: true, Type: 301},
		"response \"not ok\", tag 3, payload `no`":                                {Tag: 3, Payload: []byte("no")},
		"EOF": packet.EOF(),
		"ERQ": packet.ERQ(),
	} {
		assert.Equal(t, hex.EncodeToString(encode(t, p)), examples[name], name)
	}
	for value, v := range map[string]uint64{"0": 0, "127": 127, "128": 128, "300": 300, "16384": 16384, "2^64-1": 1<<64 - 1} {
		assert.Equal(t, hex.EncodeToString(packet.AppendUint(nil, v)), examples[value], value)
	}
}
