package mushroom

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestStateOverALossyLink holds two states to a small model: whatever is lost, repeated or late on a
// link on which each batch begins with the first unacknowledged message, the receiver takes every
// message once and in order, and the sender keeps exactly what was not acknowledged.
func TestStateOverALossyLink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits, err := Limits{}.withDefaults()
		require.NoError(t, err)
		sender := &state{limits: &limits, lastSent: noID, handed: noID}
		receiver := &state{limits: &limits, lastSent: noID, handed: noID}
		var sent, taken int
		acknowledged := -1
		var batches [][][]byte // all that were ever sent: each may arrive any number of times
		acks := []ID{{}}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				_, err := sender.push(Message{Kind: KindNotification, Method: strconv.Itoa(sent)})
				require.NoError(t, err)
				sent++
			},
			"leave": func(t *rapid.T) {
				if texts, _ := sender.batch(rapid.IntRange(1, 100).Draw(t, "size")); len(texts) > 0 {
					batches = append(batches, texts)
				}
			},
			"arrive": func(t *rapid.T) {
				if len(batches) == 0 {
					t.Skip("nothing left")
				}
				for _, text := range rapid.SampledFrom(batches).Draw(t, "batch") {
					m, err := parseMessage(text, 10)
					require.NoError(t, err)
					w := &work{request: Request{Message: m}}
					_, _, err = receiver.take(m, w)
					require.NoError(t, err)
				}
				for _, w := range receiver.inbox {
					require.Equal(t, strconv.Itoa(taken), w.request.Method)
					taken++
				}
				receiver.inbox = nil
				acks = append(acks, receiver.last)
			},
			"acknowledge": func(t *rapid.T) {
				ack := rapid.SampledFrom(acks).Draw(t, "ack") // an old one says less
				require.NoError(t, sender.acknowledge(ack))
				if n, ok := ack.Int(); ok {
					acknowledged = max(acknowledged, int(n))
				}
			},
			"": func(t *rapid.T) {
				require.Len(t, sender.queue, sent-acknowledged-1)
				size := 0
				for i, o := range sender.queue {
					require.EqualValues(t, acknowledged+1+i, o.id)
					size += len(o.text)
				}
				require.Equal(t, size, sender.bytes)
				require.LessOrEqual(t, taken, sent)
				require.Greater(t, taken, acknowledged)
			},
		})
	})
}
