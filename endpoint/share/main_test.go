//go:build linux

package share_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/endpoint/share"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestMain(m *testing.M) {
	if mode := childtest.Mode(); mode != "" {
		if err := child(mode); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// What a child answers.
const (
	typeEcho     = 0 // flags, payload and metadata
	typePID      = 1
	typeBack     = 2 // asks back the same payload, and answers the answer
	typeNobody   = 3 // the same, but does not say whom
	typeRemember = 4 // answers nothing, and has typeLater ask this one
	typeLater    = 5 // asks who was remembered
	typeFail     = 6 // fails with code 7 and a detail
	typeExit     = 7 // exits, after a secret on standard error
	typeWritten  = 8 // tells how many bytes were written to streams "fill"
	typeEnd      = 9 // tells how the last stream "wait" ended, once it has
	typeHang     = 10
	typeStream   = 11 // opens a stream "theirs" back, and answers what it reads from it
)

// served is what a child is made of.
type served struct {
	written    atomic.Int64
	ends       chan string
	remembered atomic.Pointer[pconn.Metadata]
}

func child(mode string) error {
	s := &served{ends: make(chan string, 100)}
	opts := &pconn.Options{Handler: s.requests(), StreamHandler: s.streams()}
	opts.OtherChannels = opts.Handler
	if mode == "plain" {
		opts.Extensions = pconn.ExtensionsOff
	}
	return endpoint.ServeStdio(context.Background(), opts)
}

func back(ctx context.Context, req *pconn.Request, md pconn.Metadata) (pconn.Reply, error) {
	resp, err := req.Conn.Do(ctx, pconn.Request{Channel: req.Channel, Type: typeEcho, Flags: req.Flags, Payload: req.Payload, Metadata: md})
	var rejected *pconn.RemoteError
	if errors.As(err, &rejected) {
		return pconn.Reply{}, pconn.NewError(rejected.Code, rejected.Text())
	}
	return pconn.FlagsBytes(resp.Flags, resp.Payload), err
}

func (s *served) requests() pconn.Handler {
	mux := pconn.NewMux()
	mux.HandleFunc(typeEcho, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.FlagsBytes(req.Flags, req.Payload).WithMetadata(req.Metadata), nil
	})
	mux.HandleFunc(typePID, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(strconv.Itoa(os.Getpid())), nil
	})
	mux.HandleFunc(typeBack, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		return back(ctx, req, share.Back(req.Metadata))
	})
	mux.HandleFunc(typeNobody, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) { return back(ctx, req, nil) })
	mux.HandleFunc(typeRemember, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		s.remembered.Store(&req.Metadata)
		return pconn.None(), nil
	})
	mux.HandleFunc(typeLater, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		return back(ctx, req, share.Back(*s.remembered.Load()))
	})
	mux.HandleFunc(typeFail, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.Reply{}, pconn.NewError(7, "seven", pconn.Field{Key: "why", Value: []byte("because")})
	})
	mux.HandleFunc(typeExit, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		fmt.Fprint(os.Stderr, "secret")
		os.Exit(3)
		return pconn.None(), nil
	})
	mux.HandleFunc(typeWritten, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.Flags(uint64(s.written.Load())), nil
	})
	mux.HandleFunc(typeEnd, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		select {
		case end := <-s.ends:
			return pconn.Text(end), nil
		case <-ctx.Done():
			return pconn.None(), ctx.Err()
		}
	})
	mux.HandleFunc(typeHang, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		<-ctx.Done()
		s.ends <- context.Cause(ctx).Error()
		return pconn.None(), ctx.Err()
	})
	mux.HandleFunc(typeStream, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		stream, err := req.Conn.OpenStream(ctx, "theirs", append(share.Back(req.Metadata), pconn.Field{Key: "own", Value: []byte("x")}))
		if err != nil {
			return pconn.None(), err
		}
		defer stream.Close()
		all, err := io.ReadAll(stream)
		if err != nil {
			return pconn.Reply{}, pconn.Errorf("%v", err)
		}
		return pconn.Bytes(all), nil
	})
	return mux
}

func (s *served) streams() pconn.StreamHandler {
	mux := pconn.NewStreamMux()
	mux.HandleFunc("echo", func(_ context.Context, stream *pconn.Stream) error {
		_, err := io.Copy(stream, stream)
		return err
	})
	mux.HandleFunc("after the end", func(_ context.Context, stream *pconn.Stream) error {
		all, err := io.ReadAll(stream)
		if err == nil {
			_, err = fmt.Fprintf(stream, "got %d", len(all))
		}
		return err
	})
	mux.HandleFunc("metadata", func(_ context.Context, stream *pconn.Stream) error {
		for _, f := range stream.Metadata() {
			fmt.Fprintf(stream, "%s=%s;", f.Key, f.Value)
		}
		return nil
	})
	mux.HandleFunc("refuse", func(context.Context, *pconn.Stream) error { return pconn.Refuse("not today") })
	mux.HandleFunc("fail", func(context.Context, *pconn.Stream) error { return pconn.Errorf("broken") })
	mux.HandleFunc("reset", func(_ context.Context, stream *pconn.Stream) error {
		stream.Reset(7)
		return nil
	})
	mux.HandleFunc("deaf", func(_ context.Context, stream *pconn.Stream) error {
		_ = stream.CloseRead()
		fmt.Fprint(stream, "I do not listen")
		return nil
	})
	mux.HandleFunc("fill", func(_ context.Context, stream *pconn.Stream) error {
		buf := make([]byte, 16<<10)
		for {
			n, err := stream.Write(buf)
			s.written.Add(int64(n))
			if err != nil {
				return err
			}
		}
	})
	mux.HandleFunc("wait", func(_ context.Context, stream *pconn.Stream) error {
		fmt.Fprint(stream, "!")
		all, err := io.ReadAll(stream)
		s.ends <- fmt.Sprintf("%q, %v", all, err)
		return nil
	})
	mux.HandleFunc("never read", func(ctx context.Context, stream *pconn.Stream) error {
		fmt.Fprint(stream, "!")
		<-ctx.Done()
		s.ends <- context.Cause(ctx).Error()
		return nil
	})
	return mux
}

// shared are children that are served at a socket, until the test ends, after which nothing is left.
type shared struct {
	*share.Children
	at      string
	streams pconn.StreamLimits // those of the connections, as of the children's
}

func start(t testing.TB, mode string, opts share.Options) *shared {
	t.Helper()
	childtest.NoLeaks(t)
	opts.Pool.Start.Stop = endpoint.Stop{EOF: time.Second, Term: 300 * time.Millisecond, Kill: 300 * time.Millisecond}
	opts.Pool.MinDelay, opts.Pool.MaxDelay = time.Millisecond, 20*time.Millisecond
	children, err := share.Start(t.Context(), func() *exec.Cmd {
		cmd := childtest.Command(mode)
		cmd.Stderr = io.Discard
		return cmd
	}, &opts)
	require.NoError(t, err)
	s := &shared{Children: children, at: "unix:" + filepath.Join(t.TempDir(), "s"), streams: opts.Pool.Start.Conn.Streams}
	l, err := endpoint.Listen(t.Context(), s.at)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, children.Serving(&pconn.Options{DrainTimeout: time.Second})) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		_ = children.Close() // how the children ended is each test's
	})
	return s
}

// dial connects to the children, until the test ends. What they ask is answered with the name, and its metadata's keys.
func (s *shared) dial(t testing.TB, name string) *endpoint.Conn {
	t.Helper()
	conn, err := endpoint.Dial(t.Context(), s.at, &pconn.Options{Extensions: pconn.ExtensionsOffered, Streams: s.streams, Handler: answers(name), OtherChannels: answers(name),
		StreamHandler: pconn.StreamHandlerFunc(func(_ context.Context, stream *pconn.Stream) error {
			_, err := fmt.Fprintf(stream, "%s of %s, %d fields", stream.Name(), name, len(stream.Metadata()))
			return err
		})})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func answers(name string) pconn.Handler {
	return pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if len(req.Metadata) > 0 {
			return pconn.Reply{}, pconn.Errorf("unexpected metadata: %v", req.Metadata)
		}
		return pconn.FlagsBytes(req.Flags, fmt.Appendf(nil, "%s on %d: %s", name, req.Channel, req.Payload)), nil
	})
}

func size(n int) pool.Options { return pool.Options{Size: n} }
