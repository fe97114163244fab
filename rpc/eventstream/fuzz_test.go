package eventstream_test

import (
	"bytes"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// FuzzDecoder checks that what decodes encodes to the same bytes, and that a stream decodes like a whole buffer.
func FuzzDecoder(f *testing.F) {
	v := readVectors(f)
	for _, group := range [][]vector{v.Positive, v.Negative, v.Published, v.RPC} {
		for _, one := range group {
			if one.Hex != nil {
				f.Add(unhex(f, *one.Hex))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame, streamed eventstream.Frame
		n, err := eventstream.ParseFrame(b, &frame)
		streamErr := eventstream.NewDecoder(iotest.OneByteReader(bytes.NewReader(b))).Decode(&streamed)
		if err != nil {
			require.Error(t, streamErr)
			return
		}
		require.NoError(t, streamErr)
		require.True(t, bytes.Equal(frame.Payload, streamed.Payload))
		require.Equal(t, len(frame.Headers), len(streamed.Headers))
		again, err := eventstream.AppendFrame(nil, frame.Headers, frame.Payload)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b[:n], again))
	})
}

// script turns fuzzed bytes into messages, four bytes each, so that checksums are no obstacle.
func script(b []byte) (out []byte) {
	operations := []string{"", "interop#Echo", "interop#Chat", "interop#Count", "interop#Hold", "interop#Drop", "interop#Refuse", "no"}
	for ; len(b) >= 4; b = b[4:] {
		m := eventstream.Message{
			Type: eventstream.MessageType(int8(b[0])), Flags: eventstream.MessageFlag(b[1] & 3), Payload: []byte{b[3] & 15},
		}
		out = append(out, rawMessage(m, int32(int8(b[2])), operations[b[3]>>5])...)
	}
	return out
}

// play4 is a corpus entry in four-byte messages.
func play4(messages ...[4]byte) (b []byte) {
	for _, m := range messages {
		b = append(b, m[:]...)
	}
	return b
}

// FuzzServer feeds a server messages in any order; it has to end soon after its client does.
func FuzzServer(f *testing.F) {
	f.Add(play4([4]byte{4, 0, 0, 0}, [4]byte{0, 0, 1, 1 << 5}, [4]byte{0, 0, 2, 2 << 5}, [4]byte{0, 2, 2, 0}, [4]byte{2, 0, 0, 0}))
	f.Add(play4([4]byte{4, 0, 0, 0}, [4]byte{0, 2, 1, 4 << 5}, [4]byte{1, 0, 2, 6 << 5}))
	f.Add(play4([4]byte{2, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			client, ended := serve(t, eventstreamtest.New())
			got := collect(client)
			_, _ = client.Write(script(b))
			synctest.Wait()
			got.messages(t)
			require.NoError(t, client.Close())
			requireEnded(t, ended)
			<-got.done
		})
	})
}

// FuzzClient feeds a client with open streams messages in any order.
func FuzzClient(f *testing.F) {
	f.Add(play4([4]byte{0, 0, 1, 0}, [4]byte{0, 2, 2, 0}, [4]byte{1, 2, 1, 0}, [4]byte{2, 0, 0, 0}))
	f.Add(play4([4]byte{5, 1, 0, 0}))
	f.Add(play4([4]byte{0, 2, 3, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{}
			client, server, got := startClient(t, "two", r)
			_, _ = server.Write(script(b))
			require.NoError(t, server.w.Close())
			select {
			case <-client.Done():
			case <-time.After(patience):
				require.Fail(t, "hang")
			}
			log := r.take()
			require.Equal(t, "shutdown", log[len(log)-1])
			for _, stream := range []string{"stream1:closed", "stream2:closed"} {
				n := 0
				for _, line := range log {
					if line == stream {
						n++
					}
				}
				require.Equal(t, 1, n, "%s in %q", stream, log)
			}
			require.NoError(t, server.Close())
			<-got.done
			got.messages(t)
		})
	})
}
