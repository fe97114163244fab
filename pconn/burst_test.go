package pconn_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// TestResponsesOfOneRead has a peer answer many requests, and some that were never made, in one write. Every caller
// gets its own answer, and everything is counted once.
func TestResponsesOfOneRead(t *testing.T) {
	const calls = 200 // more than are taken at a time
	p := rawPipes(t, nil)
	results := make(map[uint64]*pconn.Result)
	var answers []byte
	for i := range calls {
		text := fmt.Sprint(i)
		r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1, Payload: []byte(text)})
		require.NoError(t, err)
		tag := p.expectRequest(1, text)
		results[tag] = r
		answers = append(answers, response(tag, "answer "+text)...)
		if i%50 == 10 {
			require.NoError(t, p.conn.Notify(soon(t), pconn.Request{Type: 2}))
			answers = append(answers, response(p.expectRequest(2, ""), "dropped")...)
			answers = append(answers, response(1<<40+uint64(i), "of nobody")...)
		}
	}
	n := p.conn.Counters()
	before := n.PacketsIn.Load()
	p.write(answers)
	for _, r := range results {
		resp, err := r.Wait(soon(t))
		require.NoError(t, err)
		require.Contains(t, string(resp.Payload), "answer ")
	}
	eventually(t, "all is counted", func() bool { return n.PacketsIn.Load() == before+calls+8 })
	require.EqualValues(t, len(answers), n.BytesIn.Load())
	require.EqualValues(t, 4, n.Unsolicited.Load())
	require.Zero(t, n.LateResponses.Load())
	require.Empty(t, p.conn.InFlight())
}

// TestEmptyResponsesOfOneRead has payloads of no bytes first, last and next to each other, and the read end inside of what comes
// behind them.
func TestEmptyResponsesOfOneRead(t *testing.T) {
	want := []string{"", "", "one", "", ""}
	const last = "last"
	for cut := range len(response(0, last)) + 1 {
		p := rawPipes(t, nil)
		var results []*pconn.Result
		var answers []byte
		for _, text := range append(slices.Clone(want), last) {
			r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1})
			require.NoError(t, err)
			results = append(results, r)
			answers = append(answers, response(p.expectRequest(1, ""), text)...)
		}
		whole := len(answers) - cut
		p.write(answers[:whole])
		for i, text := range want {
			resp, err := results[i].Wait(soon(t))
			require.NoError(t, err)
			require.Equal(t, text, string(resp.Payload))
		}
		if cut > 0 {
			require.Len(t, p.conn.InFlight(), 1)
		}
		p.write(answers[whole:])
		resp, err := results[len(want)].Wait(soon(t))
		require.NoError(t, err)
		require.Equal(t, last, string(resp.Payload))
		require.EqualValues(t, len(answers), p.conn.Counters().BytesIn.Load())
	}
}

// TestResponseThatIsGarbageBehindGoodOnes loses none of those before it.
func TestResponseThatIsGarbageBehindGoodOnes(t *testing.T) {
	p := rawPipes(t, nil)
	var results []*pconn.Result
	var answers []byte
	for range 3 {
		r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1})
		require.NoError(t, err)
		results = append(results, r)
		answers = append(answers, response(p.expectRequest(1, ""), "good")...)
	}
	p.write(append(slices.Clone(answers), 0x80, 0x00, 0x01)) // a length of 0
	for _, r := range results {
		resp, err := r.Wait(soon(t))
		require.NoError(t, err)
		require.Equal(t, "good", string(resp.Payload))
	}
	var perr *pconn.ProtocolError
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	require.ErrorAs(t, p.conn.Err(), &perr)
	require.EqualValues(t, len(answers), perr.Offset)
}

// TestManyCallersInBursts has every caller get its own answers, where they come many at a time.
func TestManyCallersInBursts(t *testing.T) {
	a, _ := smallPair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(req.Payload), nil
	}))
	within(t, func() {
		done := make(chan error)
		for i := range 64 {
			go func() {
				for n := range 50 {
					text := fmt.Sprint(i, n)
					resp, err := a.Do(context.Background(), pconn.Request{Payload: []byte(text)})
					if err == nil && string(resp.Payload) != text {
						err = fmt.Errorf("%q was answered with %q", text, resp.Payload)
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 64 {
			require.NoError(t, <-done)
		}
	})
}
