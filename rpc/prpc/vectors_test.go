package prpc_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vectors is testdata/vectors.json, made with the original.
type vectors struct {
	Messages []struct {
		Name  string
		Type  int
		Hex   string
		Value json.RawMessage
	}
	Transcripts []transcript
	Upgrade     struct{ Request, Response []string }
}

type transcript struct {
	Name        string
	Frames      [][2]string
	ServerCode  *int            `json:"server_closed_first_with"`
	ClientCode  int             `json:"close_code_sent_by_client"`
	OutcomeJSON json.RawMessage `json:"outcome"`
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(text, &v))
	return &v
}

// The value of each vector, encoded by the value codec, has the original's bytes.
func TestVectorValues(t *testing.T) {
	v := loadVectors(t)
	require.Len(t, v.Messages, 88)
	for _, m := range v.Messages {
		t.Run(m.Name, func(t *testing.T) {
			value, err := prpcjson.Parse(m.Value)
			require.NoError(t, err)
			encoded, err := prpc.Encode(value)
			require.NoError(t, err)
			assert.Equal(t, m.Hex, hex.EncodeToString(encoded))
		})
	}
}

// Each vector, parsed as a message and built again by the message encoders, has the
// same bytes. Two are messages that are never sent.
func TestVectorMessages(t *testing.T) {
	for _, m := range loadVectors(t).Messages {
		t.Run(m.Name, func(t *testing.T) {
			wire, err := hex.DecodeString(m.Hex)
			require.NoError(t, err)
			require.NoError(t, prpc.Parse(wire, prpc.Limits{}))
			again, kind, err := prpc.Reencode(wire)
			switch {
			case m.Name == "request stream message, nil (the library never sends it)":
				require.ErrorIs(t, err, prpc.ErrNilMessage)
			case m.Name == "response handshake, failure (the library never sends it)":
				require.NoError(t, err)
			default:
				require.NoError(t, err)
				assert.Equal(t, m.Hex, hex.EncodeToString(again))
			}
			if err == nil {
				assert.Equal(t, prpc.MessageType(m.Type), kind)
			}
		})
	}
}
