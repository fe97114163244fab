package bufio

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// blockingPair returns descriptors of a pair of Unix sockets that block, as a child gets them.
func blockingPair(t *testing.T) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// pollerPair returns sockets that wait in the runtime's poller.
func pollerPair(t *testing.T) (a, b net.Conn) {
	x, y := blockingPair(t)
	var ends [2]net.Conn
	for i, fd := range []int{x, y} {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		require.NoError(t, err)
		f := os.NewFile(uintptr(own), "socket")
		ends[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		end := ends[i]
		t.Cleanup(func() { end.Close() })
	}
	return ends[0], ends[1]
}

func TestHandlesArriveWithTheirByte(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (*Input, *Output){
		"blocking": func(t *testing.T) (*Input, *Output) {
			a, b := blockingPair(t)
			in, err := InputFD(a)
			require.NoError(t, err)
			out, err := OutputFD(b)
			require.NoError(t, err)
			return in, out
		},
		"poller": func(t *testing.T) (*Input, *Output) {
			a, b := pollerPair(t)
			return NewInput(a), NewOutput(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := open(t)
			defer in.Close()
			defer out.Close()
			var strays []*os.File
			require.True(t, out.PassHandles())
			require.True(t, in.TakeFiles(func(files []*os.File) { strays = append(strays, files...) }))
			r, w, err := os.Pipe()
			require.NoError(t, err)
			one, err := NewHandles([]*os.File{r, w})
			require.NoError(t, err)
			two, err := NewHandles([]*os.File{w})
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.NoError(t, w.Close())

			var b Batch
			b.End(append(b.Begin(), "before"...))
			b.EndHandles(append(b.Begin(), "first"...), one)
			b.EndHandles(append(b.Begin(), "second"...), two)
			require.NoError(t, out.Write(&b, true))
			require.Zero(t, one.Len(), "the copies are closed")
			require.Empty(t, b.TakeHandles())

			buf := make([]byte, 11)
			require.NoError(t, in.ReadFull(buf))
			require.Equal(t, "beforefirst", string(buf))
			files := in.Files(6)
			require.Len(t, files, 2)
			require.Nil(t, in.Files(6))
			_, err = files[1].WriteString("through")
			require.NoError(t, err)
			require.NoError(t, files[1].Close())
			require.NoError(t, in.ReadFull(buf[:6]))
			require.Empty(t, strays)

			// The second was not asked for: whoever reads on does not want it.
			b.End(append(b.Begin(), "!"...))
			require.NoError(t, out.Write(&b, true))
			require.NoError(t, in.ReadFull(buf[:1]))
			require.Len(t, strays, 1)
			require.NoError(t, strays[0].Close())
			got, err := io.ReadAll(files[0])
			require.NoError(t, err)
			require.Equal(t, "through", string(got))
			require.NoError(t, files[0].Close())

			in.LeaveFiles()
			require.Nil(t, in.Files(0))
		})
	}
}

func TestHandlesNeedAUnixStream(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.False(t, NewOutput(w).PassHandles())
	require.False(t, NewInput(r).TakeFiles(nil))
	in, out := Pipe(0)
	require.False(t, out.PassHandles())
	require.False(t, in.TakeFiles(nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	require.False(t, NewOutput(nc).PassHandles())
	require.False(t, NewInput(nc).TakeFiles(nil))
	_, err = NewHandles([]*os.File{nil})
	require.True(t, errors.Is(err, os.ErrInvalid))
}
