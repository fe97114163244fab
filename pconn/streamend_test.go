package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// A peer that wants no more gives no more credit: END must not wait for it behind data that nobody wants.
func TestStopWhileEndWaitsBehindData(t *testing.T) {
	p := newProtoStream(t, true)
	_, err := p.s.Write(make([]byte, 2*protoCredit))
	require.NoError(t, err)
	require.Len(t, p.expectStream(frame.KindData, 1, 0).Payload, protoCredit)
	require.NoError(t, p.s.CloseWrite())
	p.send(frame.KindStop, "")
	p.expectStream(frame.KindEnd, 1, 0)
	p.send(frame.KindEnd, "")
	p.expectNoStream()
	require.Empty(t, p.conn.InFlight())
}

func TestShutdownFinishesStreams(t *testing.T) {
	a, b := pipes(t, nil, nil)
	x, y := streamPair(t, a, b)
	down := make(chan error, 1)
	go func() { down <- a.Shutdown(soon(t)) }()
	eventually(t, "new streams are refused", func() bool {
		_, err := a.OpenStream(soon(t), "", nil)
		return errors.Is(err, pconn.ErrDraining)
	})
	for _, s := range []struct{ from, to *pconn.Stream }{{x, y}, {y, x}} {
		_, err := s.from.Write([]byte("goes on"))
		require.NoError(t, err)
		require.NoError(t, s.from.CloseWrite())
		got, err := io.ReadAll(s.to)
		require.NoError(t, err)
		require.Equal(t, "goes on", string(got))
	}
	require.NoError(t, receiveFrom(t, down))
	require.NoError(t, b.Wait())
}

// An end that has sent EOF still takes what crosses it.
func TestStreamCrossesEOF(t *testing.T) {
	p := raw(t, nil)
	p.extended(frame.Hello{MaxStreams: 10})
	_, err := p.conn.Listen("")
	require.NoError(t, err)
	down := make(chan error, 1)
	go func() { down <- p.conn.Shutdown(soon(t)) }()
	p.expectEOF()
	p.sendFrame(frame.KindOpen, 1, 0, nil)
	p.sendFrame(frame.KindData, 1, 0, []byte("on its way"))
	p.sendFrame(frame.KindEnd, 1, 0, nil)
	p.write(encode(packet.Packet{Request: true}))
	require.NoError(t, receiveFrom(t, down))
}

// TestWindowsWhereMemoryIsShort has streams that are not read hold most of the memory: the one that is read goes on.
func TestWindowsWhereMemoryIsShort(t *testing.T) {
	const window, idle = 32 << 10, 4
	a, b := pipes(t, &pconn.Options{Streams: pconn.StreamLimits{Window: window, Memory: idle * window}}, nil)
	x, y := streamPair(t, a, b)
	l, err := b.Listen("idle")
	require.NoError(t, err)
	for range idle {
		_, err := a.OpenStream(soon(t), "idle", nil)
		require.NoError(t, err)
		_, err = l.AcceptStream(soon(t))
		require.NoError(t, err)
	}
	want := pattern(2 << 20)
	go func() {
		_, _ = y.Write(want)
		y.CloseWrite()
	}()
	got := make([]byte, 0, len(want))
	within(t, func() {
		buf := make([]byte, 2*window)
		for err == nil {
			var n int
			n, err = x.Read(buf)
			got = append(got, buf[:n]...)
		}
	})
	require.Equal(t, io.EOF, err)
	require.Equal(t, want, got)
}

func TestResetEndsTheHandlersContext(t *testing.T) {
	causes := make(chan error, 1)
	a, _ := pipes(t, nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(func(ctx context.Context, s *pconn.Stream) error {
		s.Reset(3)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil
	})})
	_, err := a.OpenStream(soon(t), "", nil)
	require.NoError(t, err)
	require.Equal(t, &pconn.StreamError{Stream: 1, Code: 3}, receiveFrom(t, causes))
}

// TestResetIsTheCauseThoughThePeerLeaves has the peer end the connection as soon as it sees the RESET.
func TestResetIsTheCauseThoughThePeerLeaves(t *testing.T) {
	for range 100 {
		causes := make(chan error, 1)
		p := rawPipes(t, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(func(ctx context.Context, s *pconn.Stream) error {
			s.Reset(3)
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil
		})})
		p.extended(frame.Hello{MaxStreams: 1})
		p.sendFrame(frame.KindOpen, 1, 0, nil)
		p.expectStream(frame.KindReset, 1, frame.FlagReceivers)
		require.NoError(t, p.out.Close())
		require.Equal(t, &pconn.StreamError{Stream: 1, Code: 3}, receiveFrom(t, causes))
	}
}

// A RESET that still waits behind our END when the peer's END comes holds no place: the peer has seen both ends of the
// stream, and may open the next.
func TestResetBehindEndCrossesEnd(t *testing.T) {
	p := rawSized(t, &pconn.Options{Streams: pconn.StreamLimits{MaxOpen: 1}}, 1<<20, 100)
	p.extended(frame.Hello{MaxStreams: 10})
	l, err := p.conn.Listen("")
	require.NoError(t, err)
	p.sendFrame(frame.KindOpen, 1, 0, nil)
	first, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	require.NoError(t, first.CloseWrite())
	p.expectStream(frame.KindEnd, 1, frame.FlagReceivers)

	fills := pattern(1000) // more than the pipe takes
	require.NoError(t, p.conn.Notify(context.Background(), pconn.Request{Type: 1, Payload: fills}))
	first.Reset(5)
	p.sendFrame(frame.KindEnd, 1, 0, nil)
	p.sendFrame(frame.KindOpen, 2, 0, nil)
	second, err := l.AcceptStream(soon(t))
	require.NoError(t, err, p.conn.Err())
	require.EqualValues(t, 2, second.Number())

	require.NoError(t, second.CloseWrite())
	p.expectRequest(1, string(fills))
	p.expectStream(frame.KindEnd, 2, frame.FlagReceivers) // the RESET had nothing to say any more
}

// TestResetsThatNobodyReads has a peer open and reset streams without reading what it is told: they count until it
// could.
func TestResetsThatNobodyReads(t *testing.T) {
	p := rawSized(t, &pconn.Options{Streams: pconn.StreamLimits{MaxOpen: 4}}, 1<<20, 100)
	p.extended(frame.Hello{MaxStreams: 10})
	open := frame.Open{Name: "nobody takes this"}
	for id := uint64(1); id <= 100 && p.conn.Err() == nil; id++ {
		_ = p.tryWrite(frameBytes(frame.KindOpen, id, 0, open.Append(nil)))
		_ = p.tryWrite(frameBytes(frame.KindReset, id, 0, nil))
	}
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Equal(t, &pconn.LimitError{What: "streams opened by the peer", Value: 5, Max: 4}, limit)
}

// TestDataFollowsItsOpen keeps control, requests and streams waiting, so that none leaves with every write.
func TestDataFollowsItsOpen(t *testing.T) {
	const rounds = 40
	p := rawSized(t, nil, 1<<20, 1)
	p.extended(frame.Hello{MaxStreams: rounds, StreamCredit: 1})
	opened, data, pings := uint64(0), 0, 0
	take := func() {
		switch got := p.read(); {
		case !got.Request:
			pings++
		case got.Channel != frame.Channel:
		case got.Type == uint64(frame.KindOpen)+1:
			opened++
			require.Equal(t, opened, got.Tag)
		default:
			require.Equal(t, uint64(frame.KindData)+1, got.Type)
			require.LessOrEqual(t, got.Tag, opened, "data before its OPEN")
			data++
		}
	}
	for i := range uint64(rounds) {
		p.sendFrame(frame.KindPing, 2000+i, 0, nil)
		p.sendFrame(1000, 0, 0, nil)
		eventually(t, "the ping is answered", func() bool { return p.conn.Counters().UnknownFrames.Load() == i+1 })
		require.NoError(t, p.conn.Notify(soon(t), pconn.Request{}))
		s, err := p.conn.OpenStream(soon(t), fmt.Sprint(i), nil)
		require.NoError(t, err)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		for pings < int(i) {
			take()
		}
	}
	for data < rounds {
		take()
	}
}

// TestEndOfConnWakesEveryAccept has the end come right behind the one stream that one of them gets.
func TestEndOfConnWakesEveryAccept(t *testing.T) {
	for range 100 {
		p := raw(t, nil)
		p.extended(frame.Hello{})
		l, err := p.conn.Listen("")
		require.NoError(t, err)
		done := make(chan error, 3)
		for range cap(done) {
			go func() {
				_, err := l.AcceptStream(soon(t))
				done <- err
			}()
		}
		p.write(append(frameBytes(frame.KindOpen, 1, 0, nil), encode(packet.Packet{Request: true})...))
		for range cap(done) {
			if err := receiveFrom(t, done); err != nil {
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			}
		}
	}
}

// A peer that takes no streams is told by no wait.
func TestPeerThatTakesNoStreams(t *testing.T) {
	p := raw(t, nil)
	p.extended(frame.Hello{})
	_, err := p.conn.OpenStream(soon(t), "", nil)
	require.Equal(t, pconn.ErrNoExtensions, err)
}

// What has come of a frame that the end of the connection cuts off is read before the error, whether or not a Read waits for it.
func TestDataOfAFrameThatIsCutOff(t *testing.T) {
	const came = 20_000
	data := pattern(50_000)
	frame := frameBytes(frame.KindData, 1, 0, data)
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprintf("a Read waits %v", waits), func(t *testing.T) {
			p, s := rawBulk(t, nil)
			var got []byte
			read := make(chan error, 1)
			readAll := func() {
				var err error
				got, err = io.ReadAll(s)
				read <- err
			}
			if waits {
				go readAll()
			}
			p.write(frame[:len(frame)-len(data)+came])
			require.NoError(t, p.out.Close())
			receiveFrom(t, p.conn.Done())
			if !waits {
				go readAll()
			}
			require.ErrorIs(t, receiveFrom(t, read), io.ErrUnexpectedEOF)
			require.Equal(t, data[:came], got)
		})
	}
}
