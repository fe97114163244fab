package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// socketPair returns the two ends of a pair of Unix sockets.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		nc, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		ends[i] = nc.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

func connOver(t testing.TB, nc *net.UnixConn, opts *pconn.Options) *pconn.Conn {
	t.Helper()
	var o pconn.Options
	if opts != nil {
		o = *opts
	}
	o.CloseInput = true
	c, err := pconn.New(bufio.OwnInput(nc), bufio.OwnOutput(nc), &o)
	require.NoError(t, err)
	t.Cleanup(func() { within(t, func() { c.Close() }) })
	return c
}

// sockets returns two connected ends over a pair of Unix sockets.
func sockets(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	x, y := socketPair(t)
	return connOver(t, x, a), connOver(t, y, b)
}

// takesFiles returns Options of an end that takes files, with a handler.
func takesFiles(h handler) *pconn.Options {
	opts := serve(h)
	opts.MaxFiles = pconn.MaxFiles
	return opts
}

// written returns an open file with a content, at its start.
func written(t testing.TB, content string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	_, err = f.WriteString(content)
	require.NoError(t, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// contents reads files from their starts, wherever they stand, and closes them.
func contents(files []*os.File) (all []string, err error) {
	for _, f := range files {
		b, readErr := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
		all = append(all, string(b))
		err = errors.Join(err, readErr, f.Close())
	}
	return all, err
}

// filesBack answers with the files that came, and what they contain.
func filesBack(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	payload := append(req.Payload, fmt.Sprintf(" %d:", len(req.Files))...)
	for _, f := range req.Files {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
		if err != nil {
			return pconn.None(), err
		}
		payload = append(payload, b...)
	}
	return pconn.Bytes(payload).WithFiles(req.Files...), nil
}

// countsFiles checks that the process has no more descriptors than when it was called. It may have fewer, since those
// of tests before may only now be closed.
func countsFiles(t testing.TB) func() {
	t.Helper()
	before := descriptors(t)
	return func() {
		t.Helper()
		eventually(t, fmt.Sprintf("descriptors are back at %d", before), func() bool { return descriptors(t) <= before })
	}
}

func TestFilesBothWays(t *testing.T) {
	keepsDescriptors(t)
	a, b := sockets(t, takesFiles(filesBack), takesFiles(filesBack))
	_, err := a.MaxFiles(soon(t))
	require.NoError(t, err)
	one, two := written(t, "first"), written(t, "second")
	same := countsFiles(t)
	for name, end := range map[string]*pconn.Conn{"one end": a, "the other": b} {
		t.Run(name, func(t *testing.T) {
			check := func(resp pconn.Response, err error) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, "got 2:firstsecond", string(resp.Payload))
				got, err := contents(resp.Files)
				require.NoError(t, err)
				require.Equal(t, []string{"first", "second"}, got)
				same()
			}
			req := pconn.Request{Payload: []byte("got"), Files: []*os.File{one, two}}
			check(end.Do(soon(t), req))
			check(end.DoInto(soon(t), make([]byte, 100), req))
			req.Metadata = metadata("with", "metadata")
			r, err := end.Submit(soon(t), req)
			require.NoError(t, err)
			check(r.Wait(soon(t)))
			require.NoError(t, end.Notify(soon(t), req))
			check(end.Do(soon(t), req))
			large := req
			large.Payload = pattern(1 << 20)
			resp, err := end.Do(soon(t), large)
			require.NoError(t, err)
			require.Equal(t, string(large.Payload)+" 2:firstsecond", string(resp.Payload))
			_, err = contents(resp.Files)
			require.NoError(t, err)
			same()
		})
	}
	_, err = one.Stat()
	require.NoError(t, err, "the caller's stay open")
}

// What a handler does not take is closed behind it, what it takes is its own.
func TestFilesOfHandlers(t *testing.T) {
	keepsDescriptors(t)
	kept := make(chan *os.File, 2)
	a, _ := sockets(t, takesFiles(nil), takesFiles(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case 1:
			kept <- req.TakeFiles()[0]
		case 2:
			kept <- req.Files[0]
		case 3:
			panic("with files")
		case 4:
			return pconn.None().WithFiles(req.Files...), pconn.Errorf("with files")
		}
		return pconn.None(), nil
	}))
	file := written(t, "content")
	ask := func(typ uint64) error {
		_, err := a.Do(soon(t), pconn.Request{Type: typ, Files: []*os.File{file}})
		return err
	}
	require.NoError(t, ask(0))
	same := countsFiles(t)
	require.NoError(t, ask(1))
	got, err := contents([]*os.File{<-kept})
	require.NoError(t, err)
	require.Equal(t, []string{"content"}, got)
	same()
	require.NoError(t, ask(2))
	_, err = (<-kept).Stat()
	require.ErrorIs(t, err, os.ErrClosed)
	require.Error(t, ask(3))
	require.ErrorContains(t, ask(4), "with files")
	same()
}

// Files stay with their packets among thousands of others, and pass however little the socket holds.
func TestFilesAmongPlainPackets(t *testing.T) {
	keepsDescriptors(t)
	x, y := socketPair(t)
	require.NoError(t, x.SetWriteBuffer(4<<10))
	require.NoError(t, y.SetWriteBuffer(4<<10))
	a, b := connOver(t, x, takesFiles(filesBack)), connOver(t, y, takesFiles(filesBack))
	var files []*os.File
	for i := range 4 {
		files = append(files, written(t, fmt.Sprintf("<%d>", i)))
	}
	same := countsFiles(t)
	const callers, rounds = 32, 100
	errs := make(chan error, 2*callers)
	var all sync.WaitGroup
	for i := range 2 * callers {
		all.Go(func() {
			end := []*pconn.Conn{a, b}[i%2]
			for n := range rounds {
				errs <- func() error {
					req, want := pconn.Request{Payload: pattern(n * 10)}, ""
					with := 0
					if (i+n)%3 == 0 {
						with = 1 + n%len(files)
						req.Files = files[:with]
					}
					for k := range with {
						want += fmt.Sprintf("<%d>", k)
					}
					resp, err := end.Do(soon(t), req)
					if err != nil {
						return err
					}
					if got := string(resp.Payload[n*10:]); got != fmt.Sprintf(" %d:%s", with, want) {
						return fmt.Errorf("got %q, with %d files", got, with)
					}
					list, err := contents(resp.Files)
					if len(list) != with {
						return fmt.Errorf("%d files came back of %d", len(list), with)
					}
					return err
				}()
			}
		})
	}
	go func() { all.Wait(); close(errs) }()
	for err := range errs {
		require.NoError(t, err)
	}
	same()
	require.Zero(t, a.Counters().StrayFiles.Load())
	require.Zero(t, b.Counters().StrayFiles.Load())
}

func TestAsManyFilesAsMayBe(t *testing.T) {
	keepsDescriptors(t)
	a, _ := sockets(t, takesFiles(filesBack), takesFiles(filesBack))
	most, err := a.MaxFiles(soon(t))
	require.NoError(t, err)
	require.Equal(t, pconn.MaxFiles, most)
	var files []*os.File
	for range most {
		files = append(files, written(t, "x"))
	}
	same := countsFiles(t)
	for range 20 {
		resp, err := a.Do(soon(t), pconn.Request{Files: files})
		require.NoError(t, err)
		got, err := contents(resp.Files)
		require.NoError(t, err)
		require.Len(t, got, most)
	}
	var lerr *pconn.LimitError
	_, err = a.Do(soon(t), pconn.Request{Files: append(files, files[0])})
	require.ErrorAs(t, err, &lerr)
	require.EqualValues(t, most, lerr.Max)
	_, err = a.Do(soon(t), pconn.Request{})
	require.NoError(t, err, "the connection goes on")
	same()
}

// Where files cannot go a call says so, and an answer tells its caller.
func TestFilesWhereTheyCannotGo(t *testing.T) {
	keepsDescriptors(t)
	file := written(t, "content")
	refused := func(t *testing.T, c *pconn.Conn, noExtensions bool) {
		t.Helper()
		same := countsFiles(t)
		var ferr *pconn.FilesError
		req := pconn.Request{Files: []*os.File{file}}
		_, err := c.Do(soon(t), req)
		require.ErrorAs(t, err, &ferr)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.Equal(t, noExtensions, errors.Is(err, pconn.ErrNoExtensions), err)
		_, err = c.Submit(soon(t), req)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorIs(t, c.Notify(soon(t), req), errors.ErrUnsupported)
		_, err = c.MaxFiles(soon(t))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		same()
	}
	off := takesFiles(filesBack)
	off.Extensions = pconn.ExtensionsOff
	t.Run("pipes", func(t *testing.T) {
		a, b := pipes(t, takesFiles(filesBack), takesFiles(filesBack))
		refused(t, a, false)
		refused(t, b, false)
	})
	t.Run("memory", func(t *testing.T) {
		a, b, err := pconn.Pipe(takesFiles(filesBack), takesFiles(filesBack))
		require.NoError(t, err)
		defer b.Close()
		defer a.Close()
		refused(t, a, false)
	})
	t.Run("TCP", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		here, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		there, err := l.Accept()
		require.NoError(t, err)
		opts := takesFiles(filesBack)
		opts.CloseInput = true
		a, err := pconn.New(bufio.OwnInput(here), bufio.OwnOutput(here), opts)
		require.NoError(t, err)
		defer a.Close()
		b, err := pconn.New(bufio.OwnInput(there), bufio.OwnOutput(there), opts)
		require.NoError(t, err)
		defer b.Close()
		refused(t, a, false)
	})
	t.Run("an end that takes none", func(t *testing.T) {
		a, b := sockets(t, takesFiles(filesBack), serve(filesBack))
		refused(t, a, false)
		resp, err := b.Do(soon(t), pconn.Request{Files: []*os.File{file}})
		var remote *pconn.RemoteError
		require.ErrorAs(t, err, &remote, "it gives some and takes none")
		require.Contains(t, remote.Text(), "files cannot be passed: the peer takes none")
		require.Empty(t, resp.Files)
	})
	t.Run("an end without extensions", func(t *testing.T) {
		a, b := sockets(t, takesFiles(filesBack), off)
		refused(t, a, true)
		refused(t, b, true)
	})
	t.Run("a closed file", func(t *testing.T) {
		a, _ := sockets(t, takesFiles(filesBack), takesFiles(filesBack))
		_, err := a.MaxFiles(soon(t))
		require.NoError(t, err)
		same := countsFiles(t)
		closed := written(t, "")
		require.NoError(t, closed.Close())
		_, err = a.Do(soon(t), pconn.Request{Files: []*os.File{file, closed}})
		require.ErrorIs(t, err, os.ErrClosed)
		_, err = a.Do(soon(t), pconn.Request{Files: []*os.File{nil}})
		require.ErrorIs(t, err, os.ErrInvalid)
		same()
	})
}

// A call that waits for the peer to say what it takes ends with its context.
func TestFilesWaitForHello(t *testing.T) {
	x, y := socketPair(t)
	defer y.Close()
	a := connOver(t, x, nil)
	ctx, cancel := context.WithCancel(soon(t))
	out := do(ctx, a, pconn.Request{Files: []*os.File{written(t, "")}})
	var b [1]byte
	_, err := io.ReadFull(y, b[:])
	require.NoError(t, err)
	cancel()
	require.Equal(t, context.Canceled, receiveFrom(t, out).err)
}
