package packet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/require"
)

// scanned is what the reference found in some bytes; see codec.py.
type scanned struct {
	Packets []vectorPacket `json:"packets"`
	Error   string         `json:"error"`
}

// scanWithReference lets the reference read each of the inputs.
func scanWithReference(t *testing.T, release string, inputs [][]byte) []scanned {
	t.Helper()
	python := livepeer.Python(t, "packetstream-"+release)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdin, stderr bytes.Buffer
	for _, b := range inputs {
		fmt.Fprintf(&stdin, "%x\n", b)
	}
	cmd := exec.CommandContext(ctx, python, "../testdata/packetstream/peers/codec.py")
	cmd.Stdin, cmd.Stderr = &stdin, &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var list []scanned
	lines := json.NewDecoder(bytes.NewReader(out))
	for range inputs {
		var s scanned
		require.NoError(t, lines.Decode(&s))
		list = append(list, s)
	}
	return list
}

// scan reads packets as the reference's scan does, to the end of b or the first error.
func scan(b []byte) (list []packet.Packet, err error) {
	for len(b) > 0 {
		p, n, err := packet.Decode(b)
		if err != nil {
			return list, err
		}
		list = append(list, p)
		b = b[n:]
	}
	return list, nil
}

// bent returns packets in a row in which some octets were changed, added or cut off. All numbers stay far below 64 bits,
// beyond which we and the reference differ on purpose.
func bent(rnd *rand.Rand) []byte {
	var b []byte
	for range 1 + rnd.IntN(3) {
		p := packet.Packet{
			Channel: rnd.Uint64N(3) * rnd.Uint64N(300), Tag: rnd.Uint64N(1 << rnd.IntN(40)),
			Flags: rnd.Uint64N(1 << rnd.IntN(20)), Type: rnd.Uint64N(1 << rnd.IntN(10)),
			Request: rnd.IntN(2) == 0, Payload: make([]byte, rnd.IntN(4)*rnd.IntN(60)),
		}
		b, _ = p.Append(b)
	}
	for range rnd.IntN(3) {
		i := rnd.IntN(len(b))
		switch rnd.IntN(3) {
		case 0:
			b[i] ^= 1 << rnd.IntN(8)
		case 1:
			b = append(b[:i], append([]byte{0x80}, b[i:]...)...)
		case 2:
			b = b[:i+1]
		}
	}
	return b
}

// Both releases and we find the same packets in the same bytes, good ones and bent ones.
func TestLiveReferenceReadsTheSame(t *testing.T) {
	for _, release := range []string{"20240412", "20240630"} {
		t.Run(release, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var inputs [][]byte
			for range 2000 {
				inputs = append(inputs, bent(rnd))
			}
			failures := 0
			for i, want := range scanWithReference(t, release, inputs) {
				got, err := scan(inputs[i])
				require.Equal(t, want.Error != "", err != nil, "%x: %s, %v", inputs[i], want.Error, err)
				require.Len(t, got, len(want.Packets), "%x", inputs[i])
				for j, p := range got {
					wantPacket, tooLarge := want.Packets[j].packet(t)
					require.Empty(t, tooLarge, "%x", inputs[i])
					requireSamePacket(t, wantPacket, p)
					require.Equal(t, []byte(want.Packets[j].Wire), encode(t, p))
				}
				if err != nil {
					failures++
				}
			}
			require.Greater(t, failures, 100, "the inputs hold errors")
			require.Less(t, failures, 1900, "and inputs without any")
		})
	}
}
