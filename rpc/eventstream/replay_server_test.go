package eventstream_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// patience is the longest that an end may take to find that a connection is over, in fake time.
const patience = time.Second

type serverCase struct {
	Name    string   `json:"name"`
	Send    []string `json:"send"`
	Replies []struct {
		Hex string `json:"hex"`
	} `json:"replies"`
	Closed bool   `json:"closed"`
	Note   string `json:"note"`
}

// serve starts the interop service on one end of a pipe. It runs inside a bubble of synctest.
func serve(t *testing.T, s *eventstream.Server) (client half, ended <-chan error) {
	t.Helper()
	client, server := newPipe()
	done := make(chan error, 1)
	go func() { done <- s.ServeConn(context.Background(), server) }()
	return client, done
}

// play sends chunks, each after the server has come to rest, and returns what it answered and whether it closed.
func play(t *testing.T, chunks [][]byte) (replies []wire, closed bool) {
	t.Helper()
	client, ended := serve(t, eventstreamtest.New())
	got := collect(client)
	for _, chunk := range chunks {
		if _, err := client.Write(chunk); err != nil {
			break
		}
		synctest.Wait()
	}
	time.Sleep(patience)
	replies, closed = got.messages(t), got.isClosed()
	if closed {
		requireEnded(t, ended)
	}
	require.NoError(t, client.Close())
	if !closed {
		requireEnded(t, ended)
	}
	<-got.done
	return replies, closed
}

func requireEnded(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(t, "the server did not notice the end of the connection")
	}
}

func TestServerCases(t *testing.T) {
	var cases []serverCase
	readJSON(t, "server_cases.json", &cases)
	require.Len(t, cases, 109)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			var chunks [][]byte
			for _, s := range c.Send {
				chunks = append(chunks, unhex(t, s))
			}
			var want []wire
			for _, r := range c.Replies {
				want = append(want, split(t, unhex(t, r.Hex))...)
			}
			synctest.Test(t, func(t *testing.T) {
				got, closed := play(t, chunks)
				assert.Equal(t, c.Closed, closed)
				if strings.HasPrefix(c.Note, "race") {
					got = got[:min(len(got), len(want))]
				}
				assert.Equal(t, byStream(want), byStream(got))
			})
		})
	}
}

// TestServerSessions plays the client's side of captured conversations with the reference.
func TestServerSessions(t *testing.T) {
	for _, s := range readVectors(t).Sessions {
		t.Run(s.Name, func(t *testing.T) {
			var chunks [][]byte
			var want []wire
			closed := false
			for i, m := range s.Messages {
				switch {
				case m.EOF:
					// The first to close ends the conversation.
					closed = closed || m.Dir == "s2c" && !s.Messages[max(i-1, 0)].EOF
				case m.Dir == "c2s":
					chunks = append(chunks, unhex(t, *m.Hex))
				default:
					want = append(want, split(t, unhex(t, *m.Hex))...)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				got, gotClosed := play(t, chunks)
				assert.Equal(t, closed, gotClosed)
				assert.Equal(t, byStream(want), byStream(got))
			})
		})
	}
}
