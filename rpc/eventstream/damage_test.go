package eventstream_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// session returns all that one side of a captured conversation sent.
func session(t testing.TB, name, dir string) (b []byte) {
	t.Helper()
	for _, s := range readVectors(t).Sessions {
		if s.Name != name {
			continue
		}
		for _, m := range s.Messages {
			if m.Dir == dir && !m.EOF {
				b = append(b, unhex(t, *m.Hex)...)
			}
		}
	}
	require.NotEmpty(t, b, name)
	return b
}

// endsIn feeds a side of a connection b and then the end of its input, or not, and returns how it ends: at
// the latest after patience.
type endsIn func(t *testing.T, b []byte, eof bool) error

func serverEndsIn(t *testing.T, b []byte, eof bool) (err error) {
	t.Helper()
	client, ended := serve(t, eventstreamtest.New())
	got := collect(client)
	_, _ = client.Write(b)
	if eof {
		require.NoError(t, client.w.Close())
	}
	select {
	case err = <-ended:
	case <-time.After(patience):
		require.Fail(t, "hang")
	}
	require.NoError(t, client.Close())
	<-got.done
	return err
}

// clientEndsIn returns the function for a client that has done its part, as startClient has it.
func clientEndsIn(part string) endsIn {
	return func(t *testing.T, b []byte, eof bool) error {
		t.Helper()
		client, server, got := startClient(t, part, &recorder{})
		_, _ = server.Write(b)
		if eof {
			require.NoError(t, server.w.Close())
		}
		select {
		case <-client.Done():
		case <-time.After(patience):
			require.Fail(t, "hang")
		}
		require.NoError(t, server.Close())
		<-got.done
		return client.Err()
	}
}

// checkTruncation cuts a session off at every byte: the other side is seen to go, in the middle of a message or
// between two.
func checkTruncation(t *testing.T, whole []byte, end endsIn) {
	for n := range whole {
		synctest.Test(t, func(t *testing.T) {
			require.ErrorIs(t, end(t, whole[:n], true), eventstream.ErrPeerClosed, "cut at %d", n)
		})
	}
}

// checkBitFlips flips every bit of a session. A checksum finds each of them.
func checkBitFlips(t *testing.T, whole []byte, end endsIn) {
	for i := range 8 * len(whole) {
		bad := slices.Clone(whole)
		bad[i/8] ^= 1 << (i % 8)
		synctest.Test(t, func(t *testing.T) {
			var frame *eventstream.FrameError
			require.ErrorAs(t, end(t, bad, false), &frame, "bit %d", i)
		})
	}
}

// checkMendedBitFlips flips every bit but those of total lengths and checksums, which are made right again: so
// the damage gets to the headers, to the protocol and to the application. What it means then is theirs to
// say; the connection has to end in time when its other end goes.
func checkMendedBitFlips(t *testing.T, whole []byte, end endsIn) {
	for at := 0; at < len(whole); {
		total := int(binary.BigEndian.Uint32(whole[at:]))
		for i := 8 * 4; i < 8*(total-4); i++ {
			if i/8 >= 8 && i/8 < 12 {
				continue
			}
			bad := slices.Clone(whole)
			m := bad[at : at+total]
			m[i/8] ^= 1 << (i % 8)
			binary.BigEndian.PutUint32(m[8:], crc32.ChecksumIEEE(m[:8]))
			binary.BigEndian.PutUint32(m[total-4:], crc32.ChecksumIEEE(m[:total-4]))
			synctest.Test(t, func(t *testing.T) {
				_ = end(t, bad, true)
			})
		}
		at += total
	}
}

func TestServerTruncation(t *testing.T) {
	checkTruncation(t, session(t, "chat_small", "c2s"), serverEndsIn)
}

func TestServerBitFlips(t *testing.T) {
	checkBitFlips(t, session(t, "chat_small", "c2s"), serverEndsIn)
}

func TestServerMendedBitFlips(t *testing.T) {
	checkMendedBitFlips(t, session(t, "chat_small", "c2s"), serverEndsIn)
}

func TestClientTruncation(t *testing.T) {
	checkTruncation(t, session(t, "ping", "s2c"), clientEndsIn("connect"))
}

func TestClientBitFlips(t *testing.T) {
	checkBitFlips(t, session(t, "ping", "s2c"), clientEndsIn("connect"))
}

func TestClientMendedBitFlips(t *testing.T) {
	whole := session(t, "chat_small", "s2c")
	checkMendedBitFlips(t, whole, clientEndsIn("connect"))
	ack := binary.BigEndian.Uint32(whole)
	checkMendedBitFlips(t, whole[ack:], clientEndsIn("two"))
}
