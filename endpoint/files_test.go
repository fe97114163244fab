//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// swapFiles answers with what the files that came contain, and opens the one that the request names.
func swapFiles(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	var text []byte
	for _, f := range req.Files {
		b, err := io.ReadAll(f)
		if err != nil {
			return pconn.None(), err
		}
		text = append(text, b...)
	}
	f, err := os.Open(string(req.Payload))
	if err != nil {
		return pconn.None(), pconn.Errorf("%w", err)
	}
	return pconn.Bytes(text).WithFiles(f), nil
}

// swap asks for a file and gives one, and checks both.
func swap(t *testing.T, conn pconn.Caller) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "theirs")
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	for range 10 {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		_, err = w.WriteString("ours")
		require.NoError(t, err)
		require.NoError(t, w.Close())
		resp, err := conn.Do(t.Context(), pconn.Request{Payload: []byte(path), Files: []*os.File{r}})
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Equal(t, "ours", string(resp.Payload))
		require.Len(t, resp.Files, 1)
		b, err := io.ReadAll(resp.Files[0])
		require.NoError(t, err)
		require.NoError(t, resp.Files[0].Close())
		require.Equal(t, "theirs", string(b))
	}
}

func TestFilesOverUnixSockets(t *testing.T) {
	for name, at := range map[string]string{
		"unix":          "unix:" + filepath.Join(t.TempDir(), "s"),
		"unix-abstract": "unix-abstract:" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			l, err := endpoint.Listen(t.Context(), at)
			require.NoError(t, err)
			serve(t, l, &pconn.Options{MaxFiles: 4, Handler: pconn.HandlerFunc(swapFiles)})
			conn, err := endpoint.Dial(t.Context(), at, &pconn.Options{MaxFiles: 4})
			require.NoError(t, err)
			swap(t, conn)
			require.NoError(t, conn.Close())
		})
	}
}

func TestFilesOfChildren(t *testing.T) {
	childtest.NoLeaks(t)
	conn := pconn.Options{MaxFiles: 4}
	child := start(t, &endpoint.StartOptions{Over: endpoint.OverSocket, Conn: conn}, "files")
	swap(t, child)
	require.NoError(t, child.Close())

	for _, over := range []endpoint.Over{endpoint.OverStdio, endpoint.OverPipes} {
		child := start(t, &endpoint.StartOptions{Over: over, Conn: conn}, "files")
		_, err := child.Do(t.Context(), pconn.Request{Files: []*os.File{os.Stderr}})
		var ferr *pconn.FilesError
		require.ErrorAs(t, err, &ferr)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = child.Do(t.Context(), pconn.Request{Payload: []byte(os.DevNull)})
		require.ErrorContains(t, err, "files cannot be passed")
		require.NoError(t, child.Close())
	}
}

// A child dies with files under way both ways.
func TestFilesOfChildrenThatDie(t *testing.T) {
	childtest.NoLeaks(t)
	opts := short(pconn.Options{MaxFiles: 4})
	opts.Over = endpoint.OverSocket
	child := start(t, opts, "files")
	swap(t, child)
	results := make(chan error, 100)
	for range cap(results) {
		go func() {
			resp, err := child.Do(t.Context(), pconn.Request{Payload: []byte(os.DevNull)})
			for _, f := range resp.Files {
				f.Close()
			}
			results <- err
		}()
	}
	<-results
	require.NoError(t, child.Signal(syscall.SIGKILL))
	for range cap(results) - 1 {
		<-results
	}
	require.Error(t, child.Close())
}

// A helper opens a file, and the one who asked reads it. The helper is the package's own test.
func ExampleStartOptions_files() {
	ctx := context.Background()
	cmd := childtest.Command("files")
	child, err := endpoint.Start(ctx, cmd, &endpoint.StartOptions{
		Over: endpoint.OverSocket,
		Conn: pconn.Options{MaxFiles: 1},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer child.Close()
	echo := exec.Command("echo", "from a pipe")
	out, err := echo.StdoutPipe()
	if err != nil {
		log.Fatal(err)
	}
	if err := echo.Start(); err != nil {
		log.Fatal(err)
	}
	resp, err := child.Do(ctx, pconn.Request{Payload: []byte(os.DevNull), Files: []*os.File{out.(*os.File)}})
	if err != nil {
		log.Fatal(err)
	}
	_ = echo.Wait()
	fmt.Printf("%s%d file came back\n", resp.Payload, len(resp.Files))
	_ = resp.Files[0].Close()
	// Output:
	// from a pipe
	// 1 file came back
}
