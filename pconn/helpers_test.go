package pconn_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// within fails the test if f does not return in time.
func within(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(t, "did not return")
	}
}

// soon returns a context for calls that should end at once.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// receiveFrom takes one value from a channel.
func receiveFrom[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// eventually waits for a state that nothing tells of.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, time.Millisecond, what)
}

// handler is short for the type that most tests need.
type handler = func(ctx context.Context, req *pconn.Request) (pconn.Reply, error)

// serve returns Options with a handler.
func serve(h handler) *pconn.Options { return &pconn.Options{Handler: pconn.HandlerFunc(h)} }

// pattern returns n bytes of which no two neighbourhoods are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// gate holds handlers up until it is opened.
type gate struct {
	entered chan uint64 // the types of those that came
	open    chan struct{}
	once    sync.Once
}

func newGate(t testing.TB) *gate {
	g := &gate{entered: make(chan uint64, 1<<16), open: make(chan struct{})}
	t.Cleanup(g.release)
	return g
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// serve waits for the gate, whatever its context says.
func (g *gate) serve(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	g.entered <- req.Type
	<-g.open
	return pconn.FlagsBytes(req.Flags, req.Payload), nil
}

// serveCtx waits for the gate or its context.
func (g *gate) serveCtx(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	g.entered <- req.Type
	select {
	case <-g.open:
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	case <-ctx.Done():
		return pconn.None(), ctx.Err()
	}
}

// rawPeer is the other end of a connection, speaking packets by hand.
type rawPeer struct {
	t    testing.TB
	conn *pconn.Conn // the connection under test
	in   *bufio.Input
	out  *bufio.Output
}

// raw returns a connection in memory with a peer that does nothing by itself.
func raw(t testing.TB, opts *pconn.Options) *rawPeer {
	t.Helper()
	return rawSized(t, opts, 1<<20, 1<<20)
}

// rawSized is raw with room for so many bytes towards the connection and from it.
func rawSized(t testing.TB, opts *pconn.Options, to, from int) *rawPeer {
	t.Helper()
	connIn, out := bufio.Pipe(to)
	in, connOut := bufio.Pipe(from)
	conn, err := pconn.New(connIn, connOut, opts)
	require.NoError(t, err)
	return rawEnd(t, conn, in, out)
}

// rawPipes is raw over pipes of the system.
func rawPipes(t testing.TB, opts *pconn.Options) *rawPeer {
	t.Helper()
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	conn, err := pconn.New(bufio.NewInput(toR), bufio.OwnOutput(fromW), opts)
	require.NoError(t, err)
	t.Cleanup(func() { toR.Close() })
	return rawEnd(t, conn, bufio.OwnInput(fromR), bufio.OwnOutput(toW))
}

func rawEnd(t testing.TB, conn *pconn.Conn, in *bufio.Input, out *bufio.Output) *rawPeer {
	p := &rawPeer{t: t, conn: conn, in: in, out: out}
	t.Cleanup(func() {
		p.in.Close()
		p.out.Close()
		within(t, func() { p.conn.Close() })
	})
	return p
}

// write sends bytes as they are.
func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	require.NoError(p.t, p.tryWrite(b))
}

// tryWrite is write for where the connection may be gone meanwhile.
func (p *rawPeer) tryWrite(b []byte) error {
	var batch bufio.Batch
	batch.End(append(batch.Begin(), b...))
	return p.out.Write(&batch, true)
}

// request is the bytes of a request of the application's type.
func request(tag, typ uint64, payload string) []byte {
	return encode(packet.Packet{Tag: tag, Request: true, Type: typ + 1, Payload: []byte(payload)})
}

// response is the bytes of an ok response.
func response(tag uint64, payload string) []byte {
	return encode(packet.Packet{Tag: tag, Flags: 1, Payload: []byte(payload)})
}

func encode(p packet.Packet) []byte {
	b, err := p.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	eof       = encode(packet.EOF())
	erqPacket = packet.ERQ()
)

// read returns the next packet of the connection.
func (p *rawPeer) read() packet.Packet {
	p.t.Helper()
	got, err := p.tryRead()
	require.NoError(p.t, err)
	return got
}

func (p *rawPeer) tryRead() (packet.Packet, error) {
	timer := time.AfterFunc(patience, p.in.Interrupt)
	defer timer.Stop()
	return packet.Read(p.in, 1<<30)
}

// expectRequest returns the tag of the next packet, which is a request of a type and payload.
func (p *rawPeer) expectRequest(typ uint64, payload string) uint64 {
	p.t.Helper()
	got := p.read()
	require.True(p.t, got.Request, "%+v", got)
	require.Equal(p.t, typ+1, got.Type)
	require.Equal(p.t, payload, string(got.Payload))
	return got.Tag
}

// expectResponse checks the next packet, which is a response.
func (p *rawPeer) expectResponse(tag uint64, ok bool, payload string) {
	p.t.Helper()
	got := p.read()
	require.False(p.t, got.Request, "%+v", got)
	require.Equal(p.t, tag, got.Tag)
	require.Equal(p.t, ok, got.Flags&1 != 0, "%+v", got)
	require.Equal(p.t, payload, string(got.Payload))
}

// expectEOF checks that the connection sends its EOF next, and then the end of its stream.
func (p *rawPeer) expectEOF() {
	p.t.Helper()
	require.Equal(p.t, packet.EOF(), normal(p.read()))
	_, err := p.tryRead()
	require.ErrorIs(p.t, err, io.EOF)
}

// normal makes an empty payload nil.
func normal(p packet.Packet) packet.Packet {
	if len(p.Payload) == 0 {
		p.Payload = nil
	}
	return p
}

// outcome is what a call ended with.
type outcome struct {
	resp pconn.Response
	err  error
}

// do makes a call on a goroutine of its own, which ends with the call.
func do(ctx context.Context, c interface {
	Do(context.Context, pconn.Request) (pconn.Response, error)
}, req pconn.Request) <-chan outcome {
	return begin(func() (pconn.Response, error) { return c.Do(ctx, req) })
}

// begin makes any call on a goroutine of its own, which ends with the call.
func begin(call func() (pconn.Response, error)) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		resp, err := call()
		out <- outcome{resp, err}
	}()
	return out
}

// descriptors returns the number of open descriptors of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not list descriptors")
	}
	return len(list)
}

// keepsDescriptors checks that what a test opened is closed again when all its cleanups have run.
// It is called first.
func keepsDescriptors(t testing.TB) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		eventually(t, fmt.Sprintf("descriptors are back at %d", before), func() bool { return descriptors(t) <= before })
	})
}

// smallPair returns two connected ends with hardly any room between them.
func smallPair(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	t.Helper()
	aIn, bOut := bufio.Pipe(4 << 10)
	bIn, aOut := bufio.Pipe(4 << 10)
	x, err := pconn.New(aIn, aOut, a)
	require.NoError(t, err)
	y, err := pconn.New(bIn, bOut, b)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	})
	return x, y
}
