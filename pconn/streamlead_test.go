package pconn_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// bulkOf is how much of a stream's data has to come alone for its Reads to have received for themselves for long.
const bulkOf = 16 << 20

// TestReaderThatReceivesAndStops checks that a reader of bulk holds up nobody when it does something else, though it may
// be the one who receives.
func TestReaderThatReceivesAndStops(t *testing.T) {
	a, b := pipes(t, &pconn.Options{Handler: pconn.HandlerFunc(echo)}, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	x, y := streamPair(t, a, b)
	pump(x)
	eventually(t, "it stops while it is the one who receives", func() bool {
		_, err := io.CopyN(io.Discard, y, bulkOf/4)
		require.NoError(t, err)
		for _, c := range []*pconn.Conn{a, b} {
			_, err := c.Do(soon(t), pconn.Request{Payload: []byte("x")})
			require.NoError(t, err)
		}
		return b.Counters().Handovers.Load() > 0
	})
	_, err := io.CopyN(io.Discard, y, bulkOf)
	require.NoError(t, err)
	require.NoError(t, y.Close())
}

// TestReaderThatReceivesAmongOthers checks that requests and other streams are served beside it.
func TestReaderThatReceivesAmongOthers(t *testing.T) {
	a, b := pipes(t, nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	x, y := streamPair(t, a, b)
	want := pattern(4 * bulkOf)
	wrote := make(chan error, 1)
	go func() {
		_, err := x.Write(want)
		wrote <- errors.Join(err, x.CloseWrite())
	}()
	type result struct {
		all []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		all, err := io.ReadAll(y)
		read <- result{all, err}
	}()
	for i := 0; len(read) == 0; i++ {
		_, err := a.Do(soon(t), pconn.Request{Payload: pattern(i % 50_000)})
		require.NoError(t, err)
		other, end := streamPair(t, a, b)
		_, err = other.Write([]byte("hello"))
		require.NoError(t, errors.Join(err, other.Close()))
		got, err := io.ReadAll(end)
		require.NoError(t, errors.Join(err, end.Close()))
		require.Equal(t, "hello", string(got))
		time.Sleep(time.Millisecond) // in which it is alone again
	}
	r := <-read
	require.NoError(t, errors.Join(r.err, <-wrote))
	require.True(t, bytes.Equal(want, r.all))
}

// TestEndWhileAReaderReceives ends what may end while nobody receives but a reader that is busy elsewhere.
func TestEndWhileAReaderReceives(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(t *testing.T, a, b *pconn.Conn, x, y *pconn.Stream)
		want error
	}{
		"our end closes": {func(t *testing.T, _, b *pconn.Conn, _, _ *pconn.Stream) {
			begun := time.Now()
			require.NoError(t, b.Close())
			require.Less(t, time.Since(begun), patience/2)
		}, pconn.ErrClosed},
		"the peer closes": {func(t *testing.T, a, b *pconn.Conn, _, _ *pconn.Stream) {
			require.NoError(t, a.Close())
			receiveFrom(t, b.Done())
		}, pconn.ErrPeerClosed},
		"the stream is closed": {func(t *testing.T, _, _ *pconn.Conn, x, y *pconn.Stream) {
			require.NoError(t, y.Close())
			eventually(t, "its sender knows", func() bool {
				_, err := x.Write([]byte("x"))
				return err != nil
			})
		}, os.ErrClosed},
		"the stream is reset": {func(t *testing.T, _, _ *pconn.Conn, x, y *pconn.Stream) {
			y.Reset(7)
			eventually(t, "its sender knows", func() bool {
				_, err := x.Write([]byte("x"))
				return err != nil
			})
		}, nil},
		"the deadline passes": {func(t *testing.T, _, _ *pconn.Conn, _, y *pconn.Stream) {
			require.NoError(t, y.SetReadDeadline(time.Now().Add(-time.Second)))
		}, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pipes(t, nil, nil)
			x, y := streamPair(t, a, b)
			pump(x)
			_, err := io.CopyN(io.Discard, y, bulkOf)
			require.NoError(t, err)
			end.do(t, a, b, x, y)
			_, err = io.Copy(io.Discard, y)
			require.Error(t, err)
			if end.want != nil && end.want != os.ErrClosed {
				require.ErrorIs(t, err, end.want)
			}
			if c := b; c.Err() == nil {
				_, err = a.Ping(soon(t))
				require.NoError(t, err, "the connection goes on")
			}
			require.NoError(t, x.Close())
		})
	}
}

// TestAgeOfARequestBehindBulk checks that a request is no older than the data just before it, whoever received that.
func TestAgeOfARequestBehindBulk(t *testing.T) {
	const size = 60_000
	g := newGate(t)
	p, s := rawBulk(t, pconn.HandlerFunc(g.serve))
	bulk := bytes.Repeat(frameBytes(frame.KindData, 1, 0, pattern(size)), bulkOf/size)
	// Whoever receives waits for the rest of the last payload then, and for no header before the request.
	first, last := bulk[:len(bulk)-size/2], bulk[len(bulk)-size/2:]
	received := make(chan error, 2)
	go func() {
		_, err := io.CopyN(io.Discard, s, (bulkOf/size-1)*size)
		received <- err
		_, err = io.Copy(io.Discard, s)
		received <- err
	}()
	p.write(first)
	require.NoError(t, receiveFrom(t, received))
	later := time.Now()
	p.write(append(last, request(50, 1, "x")...))
	receiveFrom(t, g.entered)
	inFlight := p.conn.InFlight()
	require.NotEmpty(t, inFlight)
	for _, f := range inFlight {
		require.LessOrEqual(t, f.Age, time.Since(later))
	}
	g.release()
	require.NoError(t, p.out.Close())
	require.Error(t, receiveFrom(t, received), "the stream does not end")
}

// rawBulk is a raw peer that has opened stream 1, which may send twice bulkOf before it is read.
func rawBulk(t *testing.T, h pconn.Handler) (*rawPeer, *pconn.Stream) {
	t.Helper()
	limits := pconn.StreamLimits{Window: 2 * bulkOf, MaxWindow: 2 * bulkOf}
	p := rawPipes(t, &pconn.Options{Listen: []string{""}, Handler: h, Streams: limits})
	p.extended(frame.Hello{MaxStreams: 9, StreamCredit: 1})
	l, err := p.conn.Listen("")
	require.NoError(t, err)
	p.sendFrame(frame.KindOpen, 1, 0, (&frame.Open{}).Append(nil))
	s, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	return p, s
}

// TestBadFrameForAReaderThatReceives checks that what is wrong behind bulk is found, and where.
func TestBadFrameForAReaderThatReceives(t *testing.T) {
	const size, window = 60_000, 2 * bulkOf
	tooMuch := frame.Header(frame.KindData, 1, 0, window+1)
	header, err := tooMuch.Append(nil)
	require.NoError(t, err)
	bulk := bytes.Repeat(frameBytes(frame.KindData, 1, 0, pattern(size)), bulkOf/size)
	for name, c := range map[string]struct {
		next []byte
		want string
	}{
		"data over the window":     {header, "which may send"},
		"data without data":        {frameBytes(frame.KindData, 1, 0, nil), "DATA without data"},
		"data of no stream":        {frameBytes(frame.KindData, 9, 0, pattern(10)), "never opened"},
		"no packet":                {bytes.Repeat([]byte{0xff}, 20), "this is not a packet"},
		"the end inside a payload": {frameBytes(frame.KindData, 1, 0, pattern(size))[:size/2], "the stream ends inside a payload"},
		"the end inside a header":  {frameBytes(frame.KindData, 1, 0, pattern(size))[:2], "the stream ends inside a packet"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := rawBulk(t, nil)
			read := make(chan error, 1)
			go func() {
				_, err := io.CopyN(io.Discard, s, int64(bulkOf/size*size))
				read <- err
			}()
			p.write(bulk)
			require.NoError(t, receiveFrom(t, read))
			p.write(c.next)
			require.NoError(t, p.out.Close())
			receiveFrom(t, p.conn.Done())
			var perr *pconn.ProtocolError
			require.ErrorAs(t, p.conn.Err(), &perr)
			require.Contains(t, perr.Error(), c.want)
		})
	}
}
