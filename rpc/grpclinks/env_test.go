package grpclinks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// Every test of what an application sees runs its body over each of these: real grpc-go over a socket is the measure.
var transports = []struct {
	name  string
	start func(e *env, t *testing.T, config string)
}{
	{"grpc-go", (*env).startGRPC},
	{"memory", (*env).startMemory},
	{"pipes", (*env).startPipes},
	{"stream", (*env).startStream},
	{"child", (*env).startChild},
}

// client is how a test wants its client.
type client struct {
	calls     []grpc.CallOption
	unary     []grpc.UnaryClientInterceptor
	stream    []grpc.StreamClientInterceptor
	stats     stats.Handler
	authority string
	userAgent string
	creds     credentials.PerRPCCredentials
}

func (c client) links(opts *grpclinks.ClientOptions) *grpclinks.ClientOptions {
	*opts = grpclinks.ClientOptions{CallOptions: c.calls, UnaryInterceptors: c.unary, StreamInterceptors: c.stream, Authority: c.authority,
		UserAgent: c.userAgent, Credentials: c.creds}
	if c.stats != nil {
		opts.StatsHandlers = []stats.Handler{c.stats}
	}
	return opts
}

func (c client) grpc() []grpc.DialOption {
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(c.calls...),
		grpc.WithChainUnaryInterceptor(c.unary...), grpc.WithChainStreamInterceptor(c.stream...), grpc.WithAuthority(c.authority)}
	if c.userAgent != "" {
		opts = append(opts, grpc.WithUserAgent(c.userAgent))
	}
	if c.stats != nil {
		opts = append(opts, grpc.WithStatsHandler(c.stats))
	}
	if c.creds != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(c.creds))
	}
	return opts
}

// env is a client and the test server at the other end of a transport.
type env struct {
	name   string
	ctx    context.Context
	client client
	cc     grpc.ClientConnInterface
	// close closes the client, kill ends the server as if its process died.
	close func()
	kill  func()
	// backend is the test server, where it is in this process.
	backend *testServer
	// real says that this is grpc-go itself.
	real bool
}

// sideBySide runs body over every transport, against a server of the configuration.
func sideBySide(t *testing.T, config string, body func(t *testing.T, e *env)) {
	t.Helper()
	sideBySideWith(t, config, client{}, body)
}

func sideBySideWith(t *testing.T, config string, c client, body func(t *testing.T, e *env)) {
	t.Helper()
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			t.Cleanup(cancel)
			e := &env{name: transport.name, ctx: ctx, client: c, real: transport.name == "grpc-go"}
			transport.start(e, t, config)
			body(t, e)
		})
	}
}

func (e *env) startGRPC(t *testing.T, config string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	backend := newTestServer()
	e.backend = backend
	server := grpc.NewServer(serverConfigs[config].grpc(backend)...)
	backend.register(server, server.GracefulStop)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	cc, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), e.client.grpc()...)
	require.NoError(t, err)
	e.cc, e.close, e.kill = cc, func() { cc.Close() }, server.Stop
	t.Cleanup(func() {
		cc.Close()
		server.Stop()
		<-served
	})
}

func (e *env) startMemory(t *testing.T, config string) {
	a, b := links.Pipe()
	backend := newTestServer()
	e.backend = backend
	server := grpclinks.NewServer(serverConfigs[config].links(backend))
	backend.register(server, server.GracefulStop)
	require.NoError(t, server.Attach(b))
	cc := grpclinks.NewClientConn(a, e.client.links(&grpclinks.ClientOptions{}))
	e.cc, e.close, e.kill = cc, func() { cc.Close() }, server.Stop
	t.Cleanup(func() {
		cc.Close()
		server.Stop()
	})
}

func (e *env) startPipes(t *testing.T, config string) {
	ours, theirs := osPipes(t)
	backend := newTestServer()
	e.backend = backend
	server := grpclinks.NewServer(serverConfigs[config].links(backend))
	backend.register(server, server.GracefulStop)
	far, err := links.NewConn(links.StreamCarrier(theirs), &links.ConnOptions{Side: 1})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(far) }()
	near, err := links.NewConn(links.StreamCarrier(ours), nil)
	require.NoError(t, err)
	cc := grpclinks.NewClientConn(near, e.client.links(&grpclinks.ClientOptions{}))
	e.cc, e.close, e.kill = cc, func() { cc.Close() }, func() { far.Close() }
	t.Cleanup(func() {
		cc.Close()
		near.Close()
		far.Close()
		require.NoError(t, <-served) // Serve may begin only now, which a stopped server would refuse
		server.Stop()
	})
}

// startStream serves on a stream of a packet connection.
func (e *env) startStream(t *testing.T, config string) {
	backend := newTestServer()
	e.backend = backend
	server := grpclinks.NewServer(serverConfigs[config].links(backend))
	backend.register(server, server.GracefulStop)
	served := make(chan error, 1)
	handler := pconn.StreamHandlerFunc(func(_ context.Context, s *pconn.Stream) error {
		conn, err := links.NewStreamConn(s, nil)
		if err != nil {
			return err
		}
		served <- server.Serve(conn)
		return conn.Close()
	})
	client, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: handler})
	require.NoError(t, err)
	s, err := client.OpenStream(e.ctx, links.StreamName, nil)
	require.NoError(t, err)
	near, err := links.NewStreamConn(s, nil)
	require.NoError(t, err)
	cc := grpclinks.NewClientConn(near, e.client.links(&grpclinks.ClientOptions{}))
	e.cc, e.close, e.kill = cc, func() { cc.Close() }, func() { far.Close() }
	t.Cleanup(func() {
		cc.Close()
		near.Close()
		client.Close()
		require.NoError(t, far.Close())
		server.Stop()
		select {
		case err := <-served:
			require.NoError(t, err)
		default: // the end has overtaken the stream, or far would have waited for its handler
		}
	})
}

// osPipes are the two ends of a pair of pipes.
func osPipes(t testing.TB) (a, b io.ReadWriteCloser) {
	t.Helper()
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	return links.Duplex(r1, w2), links.Duplex(r2, w1)
}

const childVariable = "GRPCLINKS_TEST_CHILD"

// child is this test program serving on its standard input and output.
type child struct {
	cmd    *exec.Cmd
	stream io.ReadWriteCloser
	exited chan struct{}
	err    error
}

func startChild(t testing.TB, config string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+config)
	cmd.Stderr = os.Stderr
	// The pipes are ours, since Wait would close those of the command while they are read.
	stdin, toChild, err := os.Pipe()
	require.NoError(t, err)
	fromChild, stdout, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	require.NoError(t, cmd.Start())
	require.NoError(t, errors.Join(stdin.Close(), stdout.Close()))
	c := &child{cmd: cmd, stream: links.Duplex(fromChild, toChild), exited: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.exited
	})
	return c
}

// reason waits for the child's end and puts it in words.
func (c *child) reason(err error) error {
	select {
	case <-c.exited:
		if c.err != nil {
			return fmt.Errorf("%w: child: %v", err, c.err)
		}
		return fmt.Errorf("%w: child: exit status 0", err)
	case <-time.After(10 * time.Second):
		return err
	}
}

func (e *env) startChild(t *testing.T, config string) {
	c := startChild(t, config)
	conn, err := links.NewConn(links.StreamCarrier(c.stream), &links.ConnOptions{Reason: c.reason})
	require.NoError(t, err)
	cc := grpclinks.NewClientConn(conn, e.client.links(&grpclinks.ClientOptions{}))
	e.cc, e.close, e.kill = cc, func() { cc.Close() }, func() { _ = c.cmd.Process.Kill() }
	t.Cleanup(func() {
		cc.Close()
		conn.Close()
	})
}

// childMain serves on standard input and output until that ends.
func childMain(config string) int {
	stream := links.Duplex(polled(0, "stdin"), polled(1, "stdout"))
	conn, err := links.NewConn(links.StreamCarrier(stream), &links.ConnOptions{Side: 1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	backend := newTestServer()
	server := grpclinks.NewServer(serverConfigs[config].links(backend))
	backend.register(server, server.GracefulStop)
	err = server.Serve(conn)
	conn.Close()
	if err != nil && !errors.Is(err, grpclinks.ErrServerStopped) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
