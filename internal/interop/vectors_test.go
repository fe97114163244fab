package interop

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const vectors = "../../testdata/packetstream/vectors.json"

// recording is one recorded session.
type recording struct {
	Options struct{ Handler string }
	Events  []event
	// Notes are what the library told on its own, of which notifications concern a replay.
	Notes []struct{ Notified string }
}

// event is one thing that happened in a session. Which fields it has tells its kind.
type event struct {
	// Raw is what raw sent, Real what the library sent; both in Packets too if they were whole ones.
	Raw     json.RawMessage
	Real    json.RawMessage
	Packets []wirePacket
	Then    string // behind Packets of the library: "end of stream", "nothing more in 1s"

	RawCloses string `json:"raw_closes"`

	// Op is an operation of the library's application: whole, with its Outcome, or its Begin, or its End.
	Op         string
	Begin, End int
	Outcome    *outcome

	Key     json.RawMessage
	RqType  json.Number `json:"rq_type"`
	Flags   uint64
	Channel uint64
	Payload hexBytes
	Decode  string

	// In sessions between two libraries, a and b: who sent Packet, or did Op.
	From, At string
	Packet   *wirePacket
}

// wirePacket is a packet as recorded. Numbers may be larger than 64 bits.
type wirePacket struct {
	Tag       json.Number
	IsRequest bool `json:"is_request"`
	Flags     json.Number
	Channel   json.Number
	RqType    json.Number `json:"rq_type"` // on the wire
	Payload   hexBytes
}

func (p *wirePacket) isEOF() bool { return p.IsRequest && p.RqType == "0" && p.plain("0") }
func (p *wirePacket) isERQ() bool { return p.IsRequest && p.RqType == "0" && p.plain("1") }

func (p *wirePacket) plain(tag json.Number) bool {
	return p.Tag == tag && p.Flags == "0" && p.Channel == "0" && len(p.Payload) == 0
}

// outcome is what became of an operation: a hang, an exception, a response, or another value.
type outcome struct {
	Hang         string
	Raised, Text string
	OK           *bool
	Flags        uint64
	Payload      string // hexadecimal, or the Python form of what decode made
	Returned     *string

	RecvFDOpen *bool `json:"recv_fd_open"`
	SendFDOpen *bool `json:"send_fd_open"`

	internals
}

// internals is what the library had in hand at a time.
type internals struct {
	Sent       *int           // packets, EOF and ERQ not counted
	TagsInUse  []uint64       `json:"tags_in_use"` // of requests not answered
	Pending    [][2]uint64    // channel and tag of requests out
	Counts     map[string]int // requests served, by type
	MaxRunning int            `json:"max_running"` // handlers at a time
}

// hexBytes are bytes in hexadecimal. Long ones were not recorded in full, which is refused.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// sessions are all recordings: by release, then by name.
func sessions(t *testing.T) map[string]map[string]*recording {
	t.Helper()
	b, err := os.ReadFile(vectors)
	require.NoError(t, err)
	var v struct {
		Sessions map[string]map[string]*recording
	}
	require.NoError(t, json.Unmarshal(b, &v))
	for _, release := range []string{"20240412", "20240630"} {
		require.Len(t, v.Sessions[release], 47)
	}
	return v.Sessions
}

// bytes of a Raw or Real.
func wireBytes(t *testing.T, v json.RawMessage) []byte {
	t.Helper()
	var b hexBytes
	require.NoError(t, json.Unmarshal(v, &b))
	return b
}

// betweenLibraries says whether both ends were the library.
func betweenLibraries(name string) bool { return strings.HasPrefix(name, "real-real-") }
