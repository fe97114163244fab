package pconn_test

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// byHand is a peer that passes descriptors by hand.
type byHand struct {
	*rawPeer
	nc *net.UnixConn
}

func filesByHand(t testing.TB, opts *pconn.Options) *byHand {
	x, y := socketPair(t)
	p := &byHand{rawEnd(t, connOver(t, x, opts), bufio.OwnInput(y), bufio.NewOutput(y)), y}
	hello := frame.Hello{Version: 1, Features: frame.FeatureFiles, MaxFiles: 10}
	offer := p.expectFrame(frame.KindHello)
	p.write(encode(packet.Packet{Channel: frame.Channel, Tag: offer.Tag, Flags: 1, Payload: hello.Append(nil)}))
	return p
}

// pass sends bytes with so many descriptors.
func (p *byHand) pass(b []byte, n int) {
	p.t.Helper()
	f, err := os.Open(os.DevNull)
	require.NoError(p.t, err)
	defer f.Close()
	var fds []int
	for range n {
		fds = append(fds, int(f.Fd()))
	}
	wrote, _, err := p.nc.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	require.NoError(p.t, err)
	require.Equal(p.t, len(b), wrote)
}

func files(tag, n uint64, response uint64) []byte {
	return frameOf(frame.KindFiles, tag, n<<1|response, nil)
}

func TestFilesByHand(t *testing.T) {
	keepsDescriptors(t)
	opts := takesFiles(filesBack)
	opts.MaxFiles = 4
	p := filesByHand(t, opts)
	same := countsFiles(t)

	// Every octet by itself.
	b := append(append(files(5, 2, 0), frameOf(frame.KindHeaders, 5, 0, nil)...), request(5, 0, "a")...)
	p.pass(b[:1], 2)
	for i := range b[1:] {
		p.write(b[1+i : 2+i])
	}
	got := p.read()
	require.Equal(t, frame.KindFiles, frame.KindOf(&packet.Header{Type: got.Type}))
	p.expectResponse(5, true, "a 2:")
	same()

	// Two in one go, behind a plain one.
	p.write(request(6, 0, "plain"))
	p.pass(append(files(7, 1, 0), request(7, 0, "b")...), 1)
	p.pass(append(files(8, 3, 0), request(8, 0, "c")...), 3)
	p.expectResponse(6, true, "plain 0:")
	for _, want := range []string{"b 1:", "c 3:"} {
		p.read()
		require.Equal(t, want, string(p.read().Payload))
	}
	same()

	// Without FILES they are closed as soon as it is clear that there is none.
	p.pass(request(9, 0, "d"), 3)
	p.expectResponse(9, true, "d 0:")
	same()
	require.EqualValues(t, 3, p.conn.Counters().StrayFiles.Load())

	// FILES that its packet does not follow.
	p.pass(files(10, 2, 0), 2)
	p.write(request(11, 0, "e"))
	p.expectResponse(11, true, "e 0:")
	same()

	// Before the first PIECE, and such a request given up.
	p.pass(files(12, 1, 0), 1)
	p.write(frameOf(frame.KindPiece, 12, 3<<1, []byte("p")))
	p.write(frameOf(frame.KindPiece, 12, 3<<1, []byte("q")))
	p.write(request(12, 0, "r"))
	p.read()
	p.expectResponse(12, true, "pqr 1:")
	p.pass(files(13, 4, 0), 4)
	p.write(frameOf(frame.KindPiece, 13, 3<<1, []byte("p")))
	p.write(frameOf(frame.KindCancel, 13, 0, nil))
	same()

	// Of a response to nothing, and of one that is not ok.
	p.pass(append(files(999, 1, 1), response(999, "")...), 1)
	out := do(context.Background(), p.conn, pconn.Request{Type: 3})
	tag := p.expectRequest(3, "")
	p.pass(append(files(tag, 2, 1), encode(packet.Packet{Tag: tag, Payload: []byte("no")})...), 2)
	answer := receiveFrom(t, out)
	require.ErrorContains(t, answer.err, "no")
	require.Empty(t, answer.resp.Files)
	same()
}

// What is wrong with files ends the connection with an error that says what, and all are closed.
func TestBadFiles(t *testing.T) {
	one := request(5, 0, "")
	for name, c := range map[string]struct {
		send func(p *byHand)
		want string
	}{
		"fewer than it says": {func(p *byHand) { p.pass(append(files(5, 2, 0), one...), 1) }, "FILES of 2 with which 1 came"},
		"more than it says":  {func(p *byHand) { p.pass(append(files(5, 2, 0), one...), 3) }, "FILES of 2 with which 3 came"},
		"none":               {func(p *byHand) { p.write(append(files(5, 2, 0), one...)) }, "FILES of 2 with which none came"},
		"of none":            {func(p *byHand) { p.pass(files(5, 0, 0), 2) }, "FILES of none"},
		"more than may be":   {func(p *byHand) { p.pass(files(5, 5, 0), 5) }, "files with a packet: 5 is over the limit of 4"},
		"an absurd number":   {func(p *byHand) { p.write(files(5, 1<<60, 0)) }, "files with a packet"},
		"a payload":          {func(p *byHand) { p.pass(frameOf(frame.KindFiles, 5, 1<<1, []byte("x")), 1) }, "FILES with a payload"},
		"too early":          {func(p *byHand) { p.pass(one, 1); p.write(append(files(5, 1, 0), one...)) }, "none came"},
		"a flood": {func(p *byHand) {
			p.write(encode(packet.Packet{Tag: 5, Request: true, Type: 1, Payload: pattern(1000)})[:500])
			p.pass([]byte{1}, 200)
			p.pass([]byte{1}, 200)
		}, "files came that belong to nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			keepsDescriptors(t)
			opts := takesFiles(filesBack)
			opts.MaxFiles = 4
			p := filesByHand(t, opts)
			c.send(p)
			within(t, func() { require.ErrorContains(t, p.conn.Wait(), c.want) })
		})
	}
}

// An end that takes none leaves descriptors to the system, which closes them; FILES is an error there.
func TestFilesThatNobodyTakes(t *testing.T) {
	keepsDescriptors(t)
	x, y := socketPair(t)
	p := &byHand{rawEnd(t, connOver(t, x, serve(echo)), bufio.OwnInput(y), bufio.NewOutput(y)), y}
	p.sayHello(plainHello())
	same := countsFiles(t)
	p.pass(request(5, 0, "plain"), 100)
	p.expectResponse(5, true, "plain")
	same()
	p.pass(files(6, 1, 0), 1)
	within(t, func() { require.ErrorContains(t, p.conn.Wait(), "FILES, which this end does not take") })
}

// A process that may open no more descriptors does not get all that come.
func TestFilesBeyondTheProcessLimit(t *testing.T) {
	keepsDescriptors(t)
	p := filesByHand(t, takesFiles(filesBack))
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	fd := int(null.Fd())
	free, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Close(free))
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	few := was
	few.Cur = uint64(free + 3)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was)) }()
	var fds []int
	for range 20 {
		fds = append(fds, fd)
	}
	_, _, err = p.nc.WriteMsgUnix(append(files(5, 20, 0), request(5, 0, "")...), unix.UnixRights(fds...), nil)
	require.NoError(t, err)
	within(t, func() { require.ErrorIs(t, p.conn.Wait(), bufio.ErrFilesLost) })
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Err(), &perr)
}
