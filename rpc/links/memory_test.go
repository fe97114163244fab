package links

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// poison is what freed memory is filled with. No message has it.
const poison = 0xdb

// poisoned counts payloads that spoil their memory as they are freed.
type poisoned struct{ made, freed atomic.Int64 }

// payload makes one of size bytes, all of them fill.
func (p *poisoned) payload(t *testing.T, size int, fill byte) *Payload {
	data := bytes.Repeat([]byte{fill}, size)
	p.made.Add(1)
	var once atomic.Bool
	return NewPayload(data, func() {
		if once.Swap(true) {
			t.Error("a payload was freed twice")
		}
		for i := range data {
			data[i] = poison
		}
		p.freed.Add(1)
	})
}

// echoPoisoned answers each payload with the same bytes.
func echoPoisoned(t *testing.T, p *poisoned) ServicerFunc {
	return func(ctx context.Context, op *Operation) error {
		for {
			a, err := op.Receive(ctx)
			if err != nil {
				return nil // the invoker has gone, which is what is tested
			}
			if a.Payload != nil {
				data := a.Payload.Bytes()
				answer := p.payload(t, len(data), data[0])
				a.Payload.Free()
				if op.SendPayload(ctx, answer) != nil {
					return nil
				}
			}
			if a.Completion != nil {
				return op.Complete(Closing{})
			}
		}
	}
}

// Whatever becomes of an operation, its payloads are freed once, and not before they were written.
func TestFreedPayloadsAreNeverSeen(t *testing.T) {
	for _, cut := range []bool{false, true} {
		name := "completed and cancelled"
		if cut {
			name = "connection cut"
		}
		t.Run(name, func(t *testing.T) {
			var p poisoned
			ours, theirs := osPipes(t)
			near, far := openConn(t, StreamCarrier(ours), nil), openConn(t, StreamCarrier(theirs), &ConnOptions{Side: 1})
			opts := &EndOptions{AutoGrant: 8}
			client, server := NewEnd(nil, opts), NewEnd(echoPoisoned(t, &p), opts)
			require.NoError(t, client.Start())
			require.NoError(t, server.Start())
			Join(client, near)
			Join(server, far)
			var callers sync.WaitGroup
			for i := range 8 {
				callers.Go(func() { floodPoisoned(t, client, &p, byte(i+1), !cut && i%2 == 0, cut) })
			}
			if cut {
				time.AfterFunc(20*time.Millisecond, func() { far.Close() }) // wherever they are by then
			}
			callers.Wait()
			<-client.Stop(0)
			near.Close()
			far.Close()
			<-server.Stop(0)
			require.Eventually(t, func() bool { return p.freed.Load() == p.made.Load() }, 10*time.Second, time.Millisecond)
			require.Positive(t, p.made.Load())
		})
	}
}

// floodPoisoned sends payloads of all sizes on one operation after another, and breaks some off in the middle.
func floodPoisoned(t *testing.T, client *End, p *poisoned, fill byte, cancels, cut bool) {
	sizes := rand.New(rand.NewPCG(uint64(fill), 7))
	for round := 0; round < 6 || cut; round++ {
		op, err := client.Operate(t.Context(), Opening{Group: "g", Method: "m"})
		if err != nil {
			return // the connection has ended
		}
		count := 4 + round%8
		var sender sync.WaitGroup
		sender.Go(func() {
			for range count {
				if op.SendPayload(t.Context(), p.payload(t, 1+sizes.IntN(200_000), fill)) != nil {
					return
				}
			}
			_ = op.Complete(Closing{}) // it may be over
		})
		want := count
		if cancels {
			want = count / 2
		}
		read := 0
		for err == nil && read < want {
			var data []byte
			if data, err = op.Recv(t.Context()); err != nil {
				break
			}
			read++
			if n := bytes.Count(data, []byte{fill}); n != len(data) {
				t.Errorf("%d of %d bytes are not %#x", len(data)-n, len(data), fill)
			}
		}
		if cancels || err != nil {
			op.Cancel()
		} else if _, err = op.Recv(t.Context()); err == nil {
			t.Error("there is more than was sent")
		} else if err == io.EOF {
			err = nil
		}
		sender.Wait()
		if err != nil {
			if !cut {
				t.Error(err)
			}
			return
		}
	}
}
