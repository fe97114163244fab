package links

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// kinds are the links that every check of the original is made on.
var kinds = []struct {
	name string
	open func(t testing.TB) (a, b Link)
}{
	{"Pipe", func(testing.TB) (Link, Link) { return Pipe() }},
	{"os.Pipe", func(t testing.TB) (Link, Link) {
		a, b := osPipes(t)
		return openConn(t, StreamCarrier(a), nil), openConn(t, StreamCarrier(b), &ConnOptions{Side: 1})
	}},
	{"reordering carrier", func(t testing.TB) (Link, Link) {
		a, b := reorderingCarriers()
		return openConn(t, a, &ConnOptions{Unordered: true}), openConn(t, b, &ConnOptions{Unordered: true, Side: 1})
	}},
	{"packet connection", openPackets},
	{"packet connection's stream", openStream},
	{"subprocess", openRelay},
}

func onEveryLink(t *testing.T, check func(t *testing.T, a, b Link)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			a, b := kind.open(t)
			check(t, a, b)
		})
	}
}

func openConn(t testing.TB, carrier Carrier, opts *ConnOptions) *Conn {
	t.Helper()
	conn, err := NewConn(carrier, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func osPipes(t testing.TB) (a, b io.ReadWriteCloser) {
	t.Helper()
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	return Duplex(r1, w2), Duplex(r2, w1)
}

// reordering is a carrier of packets that holds up to eight of them back and lets any of those go first.
type reordering struct {
	in     chan []byte
	out    chan []byte
	closed chan struct{}
	peer   *reordering
	once   sync.Once
	done   sync.WaitGroup
}

func reorderingCarriers() (a, b *reordering) {
	a = &reordering{in: make(chan []byte, 16), out: make(chan []byte), closed: make(chan struct{})}
	b = &reordering{in: make(chan []byte, 16), out: make(chan []byte), closed: make(chan struct{})}
	a.peer, b.peer = b, a
	for _, c := range []*reordering{a, b} {
		c.done.Go(c.shuffle)
	}
	return a, b
}

// shuffle passes on what the peer wrote, until the carrier is closed.
func (c *reordering) shuffle() {
	random := rand.New(rand.NewPCG(1, 2))
	var held [][]byte
	for {
		if len(held) == 0 {
			select {
			case frame := <-c.in:
				held = append(held, frame)
			case <-c.closed:
				return
			}
		}
		for len(held) < 8 {
			select {
			case frame := <-c.in:
				held = append(held, frame)
				continue
			default:
			}
			break
		}
		i := random.IntN(len(held))
		select {
		case c.out <- held[i]:
			held = append(held[:i], held[i+1:]...)
		case frame := <-c.in:
			held = append(held, frame)
		case <-c.closed:
			return
		}
	}
}

func (c *reordering) ReadFrame() ([]byte, error) {
	select {
	case frame := <-c.out:
		return frame, nil
	case <-c.closed:
		return nil, io.EOF
	case <-c.peer.closed:
		return nil, io.EOF
	}
}

func (c *reordering) WriteFrames(batch []byte) error {
	for len(batch) > 0 {
		var frame []byte
		frame, batch = NextFrame(batch)
		select {
		case c.peer.in <- append([]byte(nil), frame...):
		case <-c.closed:
			return io.ErrClosedPipe
		case <-c.peer.closed:
			return io.ErrClosedPipe
		}
	}
	return nil
}

func (c *reordering) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.done.Wait()
	return nil
}

// openPackets is a channel of a packet connection, of which only one end is known beforehand.
func openPackets(t testing.TB) (Link, Link) {
	t.Helper()
	a, b := NewPackets(PacketChannel), NewPackets(PacketChannel)
	channels := func(p *Packets) *pconn.Options {
		return &pconn.Options{Channels: map[uint64]pconn.Handler{PacketChannel: p}}
	}
	near, far, err := pconn.Pipe(channels(a), channels(b))
	require.NoError(t, err)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	a.Bind(near)
	return openConn(t, a, &ConnOptions{Unordered: true}), openConn(t, b, &ConnOptions{Unordered: true, Side: 1})
}

// openStream is a stream of a packet connection.
func openStream(t testing.TB) (Link, Link) {
	t.Helper()
	accepted := make(chan *Conn, 1)
	handler := pconn.StreamHandlerFunc(func(_ context.Context, s *pconn.Stream) error {
		conn, err := NewStreamConn(s, nil)
		if err != nil {
			return err
		}
		accepted <- conn
		<-conn.Done()
		return nil
	})
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: handler})
	require.NoError(t, err)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	s, err := near.OpenStream(t.Context(), StreamName, nil)
	require.NoError(t, err)
	opened, err := NewStreamConn(s, &ConnOptions{Side: 1})
	require.NoError(t, err)
	b := <-accepted
	require.Equal(t, []int{0, 1, streamWindow}, []int{opened.opts.Side, b.opts.Side, b.opts.Window})
	for _, conn := range []*Conn{opened, b} {
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
	}
	return opened, b
}

const relayVariable = "LINKS_TEST_RELAY"

// openRelay starts this program as a process that passes tickets on from its standard input and output to descriptors 3 and 4.
func openRelay(t testing.TB) (Link, Link) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), relayVariable+"=1")
	cmd.Stderr = os.Stderr
	var ours, theirs [4]*os.File
	for i := range ours {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		if i%2 == 0 {
			theirs[i], ours[i] = r, w
		} else {
			theirs[i], ours[i] = w, r
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = theirs[0], theirs[1], theirs[2:]
	require.NoError(t, cmd.Start())
	for _, f := range theirs {
		require.NoError(t, f.Close())
	}
	t.Cleanup(func() { require.NoError(t, cmd.Wait()) })
	return openConn(t, StreamCarrier(Duplex(ours[1], ours[0])), nil), openConn(t, StreamCarrier(Duplex(ours[3], ours[2])), &ConnOptions{Side: 1})
}

func relayMain() int {
	var conns [2]*Conn
	for i := range conns {
		r, w := polled(2*i+boolToInt(i > 0)), polled(2*i+1+boolToInt(i > 0))
		conn, err := NewConn(StreamCarrier(Duplex(r, w)), &ConnOptions{Side: 1 - i})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		conns[i] = conn
	}
	x, y := Pipe()
	x.Join(conns[0])
	y.Join(conns[1])
	conns[0].Join(x)
	conns[1].Join(y)
	for _, conn := range conns {
		<-conn.Done()
	}
	return 0
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
