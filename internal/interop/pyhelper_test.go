//go:build unix

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// startPython starts service.py as a child of a connection of ours.
func startPython(t *testing.T, face string, args ...string) (context.Context, *endpoint.Child) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	t.Cleanup(cancel)
	words := pythonFile(t, "testdata/service.py", append([]string{"--face", face}, args...)...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = io.Discard // its tail is kept
	service := &extendedService{plain: testservice.New("")}
	child, err := endpoint.Start(ctx, cmd, &endpoint.StartOptions{Conn: pconn.Options{Handler: service}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = child.Close() })
	return ctx, child
}

// eachFace runs a test with service.py as the child, of both faces, and sees it end well.
func eachFace(t *testing.T, test func(t *testing.T, ctx context.Context, child *endpoint.Child)) {
	for _, face := range faces {
		t.Run(face, func(t *testing.T) {
			t.Parallel()
			ctx, child := startPython(t, face)
			test(t, ctx, child)
			require.NoError(t, child.Close(), "%s", child.Stderr())
			require.NotContains(t, string(child.Stderr()), "Traceback")
		})
	}
}

func TestPythonFileManyInFlight(t *testing.T) {
	eachFace(t, func(t *testing.T, ctx context.Context, child *endpoint.Child) {
		var results []*pconn.Result
		for i := range 1000 {
			typ := uint64(testservice.Pair)
			if i%100 == 0 {
				typ = testservice.Sleep
			}
			r, err := child.Submit(ctx, pconn.Request{Type: typ, Flags: uint64(i), Payload: fmt.Appendf(nil, "20:%d", i)})
			require.NoError(t, err)
			results = append(results, r)
		}
		for i, r := range results {
			resp, err := r.Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, pconn.Response{OK: true, Flags: uint64(i), Payload: fmt.Appendf(nil, "20:%d", i)}, resp)
		}
		// Calls inside of calls, far deeper than there are places for handlers.
		deep := bytes.Repeat([]byte{testservice.Back}, 400)
		resp, err := child.Do(ctx, pconn.Request{Type: testservice.Back, Payload: append(deep, testservice.Pair, 'x')})
		require.NoError(t, err)
		require.Equal(t, "x", string(resp.Payload))
	})
}

func TestPythonFileExtensions(t *testing.T) {
	eachFace(t, func(t *testing.T, ctx context.Context, child *endpoint.Child) {
		_, err := child.Ping(ctx)
		require.NoError(t, err)
		md := pconn.Metadata{{Key: "k", Value: []byte("v")}, {Key: "k", Value: []byte("\xff")}, {Key: "", Value: []byte{}}}
		resp, err := child.Do(ctx, pconn.Request{Type: typeMetadata, Flags: 3, Payload: []byte("m"), Metadata: md})
		require.NoError(t, err)
		require.Equal(t, pconn.Response{OK: true, Flags: 3, Payload: []byte("m"), Metadata: md}, resp)

		_, err = child.Do(ctx, pconn.Request{Type: typeError, Payload: []byte("no such thing")})
		var remote *pconn.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, "no such thing", remote.Text())
		require.Equal(t, uint64(7), remote.Code)
		require.Equal(t, pconn.Metadata{{Key: "first", Value: []byte("1")}, {Key: "second", Value: []byte("\x00\xff")}}, remote.Details)

		resp, err = child.Do(ctx, pconn.Request{Type: typeDeadline, Timeout: 5 * time.Second})
		require.NoError(t, err)
		require.Regexp(t, `^(4\d\d\d|5000)$`, string(resp.Payload))

		// What is larger than a piece goes in pieces, both ways.
		large := testservice.HugeBytes(5 << 20)
		resp, err = child.Do(ctx, pconn.Request{Type: typeMetadata, Payload: large, Metadata: md})
		require.NoError(t, err)
		require.True(t, bytes.Equal(large, resp.Payload))
		require.Equal(t, md, resp.Metadata)

		// The helper uses the extensions towards us.
		resp, err = child.Do(ctx, pconn.Request{Type: testservice.Back, Payload: []byte{typeDeadline}})
		require.NoError(t, err)
		require.Equal(t, "none", string(resp.Payload))

		_, err = child.Do(ctx, pconn.Request{Type: typePrint, Payload: []byte("printed by the helper")})
		require.NoError(t, err)
		_, err = child.Do(ctx, pconn.Request{Type: typeGoAway})
		require.NoError(t, err)
		_, err = child.Do(ctx, pconn.Request{})
		var away *pconn.GoAwayError
		require.ErrorAs(t, err, &away)
		require.Equal(t, pconn.GoAwayError{Code: 3, Text: "enough"}, *away)
		require.NoError(t, child.Close())
		require.Contains(t, string(child.Stderr()), "printed by the helper\n")
	})
}

func TestPythonFileCancel(t *testing.T) {
	eachFace(t, func(t *testing.T, ctx context.Context, child *endpoint.Child) {
		_, err := child.Ping(ctx)
		require.NoError(t, err)
		given, cancel := context.WithCancelCause(ctx)
		done := make(chan error, 1)
		go func() {
			_, err := child.Do(given, pconn.Request{Type: typeUntilCancelled})
			done <- err
		}()
		require.Eventually(t, func() bool {
			resp, err := child.Do(ctx, pconn.Request{Type: typeBegun})
			return err == nil && string(resp.Payload) == "1"
		}, childLimit, 5*time.Millisecond)
		cancel(pconn.NewError(9, "not wanted"))
		require.ErrorIs(t, <-done, context.Canceled)

		short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancelShort()
		_, err = child.Do(short, pconn.Request{Type: typeUntilCancelled})
		require.ErrorIs(t, err, context.DeadlineExceeded)

		want := []cancellation{{Code: 9, Text: "not wanted"}, {Deadline: true}}
		var got []cancellation
		require.Eventually(t, func() bool {
			resp, err := child.Do(ctx, pconn.Request{Type: typeCancels})
			require.NoError(t, err)
			got = nil
			require.NoError(t, json.Unmarshal(resp.Payload, &got))
			return slices.Equal(want, got)
		}, childLimit, 5*time.Millisecond, "%v", &got)
		require.Eventually(t, func() bool { return statusOf(t, ctx, child).Incoming == 1 }, childLimit, 5*time.Millisecond)
	})
}

// status is what service.py says of itself.
type status struct {
	RSS      int64
	Threads  int
	FDs      int
	Incoming int // requests at work, the one that asks included
}

func statusOf(t *testing.T, ctx context.Context, child *endpoint.Child) (s status) {
	t.Helper()
	resp, err := child.Do(ctx, pconn.Request{Type: typeStatus})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(resp.Payload, &s))
	return s
}

func TestPythonFileStreams(t *testing.T) {
	eachFace(t, func(t *testing.T, ctx context.Context, child *endpoint.Child) {
		data := testservice.HugeBytes(6 << 20)
		open := func(name string, md pconn.Metadata) *pconn.Stream {
			s, err := child.OpenStream(ctx, name, md)
			require.NoError(t, err)
			require.NoError(t, s.SetDeadline(time.Now().Add(childLimit)))
			return s
		}
		var wg sync.WaitGroup
		s := open("echo", nil)
		wg.Go(func() {
			_, _ = s.Write(data)
			_ = s.CloseWrite()
		})
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		wg.Wait()
		require.NoError(t, s.Close())

		s = open("slow", nil)
		_, err = s.Write(data[:2<<20])
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		got, err = io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(2<<20), string(got))

		// A reader of ours that does not read holds up that stream, and the helper takes no memory for it.
		held := open("source", pconn.Metadata{{Key: "size", Value: []byte("100000000")}})
		s = open("messages", nil)
		m := s.Messages(0)
		for _, text := range []string{"one", "", strings.Repeat("x", 100000)} {
			require.NoError(t, m.Send(ctx, []byte(text)))
			answer, err := m.Recv(ctx)
			require.NoError(t, err)
			require.True(t, text+"!" == string(answer))
		}
		require.NoError(t, s.Close())
		require.Less(t, statusOf(t, ctx, child).RSS, int64(80<<20))
		_, err = io.ReadFull(held, make([]byte, 1<<20))
		require.NoError(t, err)
		held.Reset(4)

		s = open("reset", nil)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		requireStreamError(t, s, pconn.StreamError{Code: 5, Text: "no more", Remote: true})
		s = open("fail", nil)
		requireStreamError(t, s, pconn.StreamError{Code: 6, Text: "will not", Remote: true})
		s = open("nobody takes this", nil)
		requireStreamError(t, s, pconn.StreamError{Text: "nobody takes streams of this name", Refused: true, Remote: true})

		s = open("stop", nil)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		got, err = io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "still", string(got))
		for err == nil {
			_, err = s.Write(data)
		}
		var serr *pconn.StreamError
		require.ErrorAs(t, err, &serr)
		require.True(t, serr.Stopped)
		require.Equal(t, []any{uint64(9), "enough"}, []any{serr.Code, serr.Text})
		require.NoError(t, s.Close())
	})
}

func requireStreamError(t *testing.T, s *pconn.Stream, want pconn.StreamError) {
	t.Helper()
	_, err := io.ReadAll(s)
	var got *pconn.StreamError
	require.ErrorAs(t, err, &got)
	want.Stream, want.Name = s.Number(), s.Name()
	require.Equal(t, want, *got)
	require.NoError(t, s.Close())
}

// Many streams at once, beside requests.
func TestPythonFileManyStreams(t *testing.T) {
	eachFace(t, func(t *testing.T, ctx context.Context, child *endpoint.Child) {
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for i := range 100 {
			wg.Go(func() {
				errs <- func() error {
					s, err := child.OpenStream(ctx, "echo", nil)
					if err != nil {
						return err
					}
					defer s.Close()
					text := strings.Repeat(fmt.Sprintf("%d,", i), 5000)
					go func() {
						_, _ = io.WriteString(s, text)
						_ = s.CloseWrite()
					}()
					got, err := io.ReadAll(s)
					if err == nil && string(got) != text {
						err = errors.New("another text came back")
					}
					return err
				}()
			})
		}
		for i := range 100 {
			resp, err := child.Do(ctx, pconn.Request{Type: testservice.Pair, Flags: uint64(i)})
			require.NoError(t, err)
			require.Equal(t, uint64(i), resp.Flags)
		}
		wg.Wait()
		for range 100 {
			require.NoError(t, <-errs)
		}
	})
}

// A helper that is killed, with calls, handlers and streams at work: everybody is told at once.
func TestPythonFileKilled(t *testing.T) {
	for _, face := range faces {
		t.Run(face, func(t *testing.T) {
			t.Parallel()
			ctx, child := startPython(t, face)
			r, err := child.Submit(ctx, pconn.Request{Type: typeUntilCancelled})
			require.NoError(t, err)
			s, err := child.OpenStream(ctx, "hold", nil)
			require.NoError(t, err)
			_, err = child.Do(ctx, pconn.Request{Type: testservice.None})
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
			_, err = r.Wait(ctx)
			require.ErrorContains(t, err, "signal: killed")
			_, err = io.ReadAll(s)
			require.Error(t, err)
			require.Error(t, child.Close())
		})
	}
}

// A host that ends at any moment, here in the middle of everything: the helper ends too, and by itself.
func TestPythonFileHostGone(t *testing.T) {
	for _, face := range faces {
		for name, last := range map[string]string{
			"between packets":    "",
			"inside a packet":    "\x05\x02",
			"after an EOF":       "\x03\x00\x02\x00",
			"with what is none":  "no packets at all, but text",
			"after a bad packet": "\x00",
		} {
			t.Run(face+"/"+name, func(t *testing.T) {
				t.Parallel()
				args := pythonFile(t, "testdata/service.py", "--face", face)
				ctx, cancel := context.WithTimeout(t.Context(), childLimit)
				defer cancel()
				cmd := exec.CommandContext(ctx, args[0], args[1:]...)
				var text syncbuf.Buffer
				cmd.Stderr = &text
				stdin, err := cmd.StdinPipe()
				require.NoError(t, err)
				stdout, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				_, err = io.WriteString(stdin, "\x05\x02\x02\x01hi")
				require.NoError(t, err)
				answer := make([]byte, 3)
				_, err = io.ReadFull(stdout, answer)
				require.NoError(t, err)
				require.Equal(t, "\x02\x02\x04", string(answer))
				_, err = io.WriteString(stdin, last)
				require.NoError(t, err)
				require.NoError(t, stdin.Close())
				rest, err := io.ReadAll(stdout)
				require.NoError(t, err)
				require.Equal(t, "\x03\x00\x02\x00", string(rest))
				err = cmd.Wait()
				require.NoError(t, ctx.Err(), "it hangs")
				if good := last == "" || strings.HasPrefix(last, "\x03"); good {
					require.NoError(t, err, text.String())
				} else {
					require.Error(t, err)
					require.Contains(t, text.String(), "ProtocolError")
				}
			})
		}
	}
}
