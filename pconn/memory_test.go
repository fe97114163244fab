package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// filled returns a payload that says of itself what it is: every byte the same, after its length.
func filled(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

// uniform reports whether all bytes are the same and not the one that callers overwrite with.
func uniform(b []byte) error {
	if len(b) > 0 && (b[0] == overwritten || bytes.Count(b, b[:1]) != len(b)) {
		return fmt.Errorf("a payload of %d bytes is not all %#x", len(b), b[0])
	}
	return nil
}

const overwritten = 0xEE

func overwrite(b []byte) {
	copy(b, bytes.Repeat([]byte{overwritten}, len(b)))
}

// slowReader reads a few bytes at a time.
type slowReader struct {
	r   io.Reader
	rnd *rand.Rand
}

func (s *slowReader) Read(p []byte) (int, error) {
	return s.r.Read(p[:min(len(p), 1+s.rnd.IntN(3000))])
}

// TestCallersMemoryIsTheirsAfterwards has callers that give up at any stage and overwrite at once what
// they passed in. The peer must receive whole packets with what was sent, and nothing else.
func TestCallersMemoryIsTheirsAfterwards(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T) (*pconn.Conn, io.Reader, func([]byte) error, func()){
		"memory": func(t *testing.T) (*pconn.Conn, io.Reader, func([]byte) error, func()) {
			p := rawSized(t, nil, 1<<20, 4<<10)
			return p.conn, p.in, p.tryWrite, func() { p.out.Close() }
		},
		"pipes": func(t *testing.T) (*pconn.Conn, io.Reader, func([]byte) error, func()) {
			keepsDescriptors(t)
			p := rawPipes(t, nil)
			return p.conn, p.in, p.tryWrite, func() { p.out.Close() }
		},
		"blocking writer": func(t *testing.T) (*pconn.Conn, io.Reader, func([]byte) error, func()) {
			toR, toW := io.Pipe()
			fromR, fromW := io.Pipe()
			conn, err := pconn.New(bufio.OwnInput(toR), bufio.OwnOutput(fromW), nil)
			require.NoError(t, err)
			t.Cleanup(func() {
				toW.Close()
				fromR.Close()
				within(t, func() { conn.Close() })
			})
			return conn, fromR, func(b []byte) error { _, err := toW.Write(b); return err }, func() { toW.Close() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, from, write, end := connect(t)
			peer := make(chan error, 1)
			go func() { peer <- answerSlowly(from, write, end) }()
			var wg sync.WaitGroup
			for g := range 6 {
				wg.Go(func() { callAndOverwrite(t, conn, byte(g)) })
			}
			wg.Wait()
			// The stream is in step: a last call comes through.
			resp, err := conn.Do(soon(t), pconn.Request{Payload: filled(40_000, 7)})
			require.NoError(t, err)
			require.Equal(t, filled(40_000, 7), resp.Payload)
			require.NoError(t, conn.Shutdown(soon(t)))
			require.NoError(t, receiveFrom(t, peer))
		})
	}
}

// answerSlowly reads a few bytes at a time, checks every request and answers with its payload.
func answerSlowly(from io.Reader, write func([]byte) error, end func()) error {
	in := bufio.NewInput(struct{ io.Reader }{&slowReader{from, rand.New(rand.NewPCG(1, 2))}})
	defer in.Close()
	defer end()
	for {
		got, err := packet.Read(in, 1<<20)
		if err != nil {
			return err
		}
		if got.Type == 0 {
			return nil
		}
		if err := uniform(got.Payload); err != nil {
			return err
		}
		if err := write(response(got.Tag, string(got.Payload))); err != nil {
			return err
		}
	}
}

func callAndOverwrite(t *testing.T, conn *pconn.Conn, id byte) {
	rnd := rand.New(rand.NewPCG(uint64(id), 3))
	buf := make([]byte, 150_000)
	for i := range 18 {
		b := id*32 + byte(i) + 1
		payload := filled(1+rnd.IntN(120_000), b)
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(4000))*time.Microsecond)
		var resp pconn.Response
		var err error
		want := bytes.Clone(payload)
		switch i % 3 {
		case 0:
			resp, err = conn.Do(ctx, pconn.Request{Payload: payload})
		case 1:
			resp, err = conn.DoInto(ctx, buf, pconn.Request{Payload: payload})
		default:
			err = conn.Notify(ctx, pconn.Request{Payload: payload})
			resp.Payload = want
		}
		if err == nil {
			assert.True(t, bytes.Equal(want, resp.Payload))
		} else {
			assert.Equal(t, context.DeadlineExceeded, err)
		}
		overwrite(payload)
		overwrite(buf)
		cancel()
		// A late read into the buffer, or out of the payload, is a race that -race sees, or shows here.
		assert.Equal(t, len(buf), bytes.Count(buf, []byte{overwritten}), "the buffer was written to after return")
	}
}

// TestCancelInsideAPayload gives up when exactly so many bytes were taken by the peer.
func TestCancelInsideAPayload(t *testing.T) {
	const size = 100_000
	for _, taken := range []int{0, 1, 5, 4096, 50_000, size - 1} {
		t.Run(fmt.Sprint(taken), func(t *testing.T) {
			p := rawSized(t, nil, 1<<20, 1<<10)
			ctx, cancel := context.WithCancel(context.Background())
			payload := filled(size, 1)
			res := do(ctx, p.conn, pconn.Request{Type: 1, Payload: payload})
			eventually(t, "it is in the write", func() bool { return p.conn.Counters().SenderHandovers.Load() > 0 })
			head := make([]byte, taken)
			require.NoError(t, p.in.ReadFull(head))
			cancel()
			require.Equal(t, context.Canceled, receiveFrom(t, res).err)
			overwrite(payload)
			next := do(soon(t), p.conn, pconn.Request{Type: 2, Payload: []byte("next")})

			whole := bufio.NewInput(io.MultiReader(bytes.NewReader(head), p.in))
			defer whole.Close()
			got, err := packet.Read(whole, 1<<20)
			require.NoError(t, err)
			require.True(t, bytes.Equal(filled(size, 1), got.Payload))
			got, err = packet.Read(whole, 1<<20)
			require.NoError(t, err)
			require.Equal(t, "next", string(got.Payload))
			p.write(response(got.Tag, ""))
			require.NoError(t, receiveFrom(t, next).err)
		})
	}
}

// TestCancelInsideAResponse gives up while a response comes in piece by piece.
func TestCancelInsideAResponse(t *testing.T) {
	const size = 100_000
	for _, sent := range []int{1, 4, 5000, size} {
		for _, into := range []int{0, size - 1, size} {
			t.Run(fmt.Sprintf("%d of it into %d", sent, into), func(t *testing.T) {
				p := raw(t, nil)
				buf := make([]byte, into)
				ctx, cancel := context.WithCancel(context.Background())
				res := make(chan error, 1)
				go func() {
					_, err := p.conn.DoInto(ctx, buf, pconn.Request{})
					overwrite(buf)
					res <- err
				}()
				all := response(p.expectRequest(0, ""), string(pattern(size)))
				p.write(all[:sent])
				cancel()
				require.Equal(t, context.Canceled, receiveFrom(t, res))
				p.write(all[sent:])
				next := do(soon(t), p.conn, pconn.Request{})
				p.write(response(p.expectRequest(0, ""), "next"))
				require.Equal(t, "next", string(receiveFrom(t, next).resp.Payload))
				require.Equal(t, into, bytes.Count(buf, []byte{overwritten}))
				require.EqualValues(t, 1, p.conn.Counters().LateResponses.Load())
			})
		}
	}
}

// TestWriteFailsInsideAPayload has the peer go away in the middle of payloads that are gathered.
func TestWriteFailsInsideAPayload(t *testing.T) {
	keepsDescriptors(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	in, _ := bufio.Pipe(0)
	conn, err := pconn.New(in, bufio.OwnOutput(w), nil)
	require.NoError(t, err)
	t.Cleanup(func() { within(t, func() { conn.Close() }) })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			payload := filled(300_000, byte(g+1))
			_, err := conn.Do(soon(t), pconn.Request{Payload: payload})
			overwrite(payload)
			assert.ErrorIs(t, err, pconn.ErrPeerGone)
		})
	}
	buf := make([]byte, 1000)
	_, err = io.ReadFull(r, buf)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	within(t, wg.Wait)
	require.ErrorIs(t, conn.Wait(), pconn.ErrPeerGone)
	require.False(t, errors.Is(conn.Err(), pconn.ErrClosed))
}

// TestConnectionsShareSpareBatches has two connections use each other's, while callers of both ask what has become of payloads
// that were sent from where they are. A batch that two connections' locks guard is a race that -race sees.
func TestConnectionsShareSpareBatches(t *testing.T) {
	var wg sync.WaitGroup
	for range 2 {
		a, _ := pair(t, nil, serve(echo))
		for g := range 3 {
			wg.Go(func() {
				for i := range 60 {
					want := filled(1+(i%3)*40_000, byte(1+i+64*g))
					resp, err := a.Do(soon(t), pconn.Request{Payload: want})
					if !assert.NoError(t, err) || !assert.True(t, bytes.Equal(want, resp.Payload)) {
						return
					}
				}
			})
		}
	}
	within(t, wg.Wait)
}

func TestResponseIsTheCallersToKeep(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	var kept [][]byte
	for i := range 50 {
		resp, err := a.Do(soon(t), pconn.Request{Payload: filled(100+1000*i, byte(i))})
		require.NoError(t, err)
		kept = append(kept, resp.Payload)
	}
	for i, b := range kept {
		require.Equal(t, filled(100+1000*i, byte(i)), b)
		overwrite(b)
	}
}
