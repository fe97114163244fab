package mushroom_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestMain(m *testing.M) {
	if run := childtest.Mode(); run != "" {
		os.Exit(runChild(run))
	}
	goleak.VerifyTestMain(m)
}

// testContext ends before the test's own deadline would.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// serve runs a mushroom server over HTTP until the test's end.
func serve(t testing.TB, server *mushroom.Server) (url string) {
	t.Helper()
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		assert.NoError(t, server.Shutdown(ctx))
		listener.Close()
	})
	return listener.URL + "/"
}

// newServer makes and runs a server with options.
func newServer(t testing.TB, opts mushroom.ServerOptions) (server *mushroom.Server, url string) {
	t.Helper()
	server, err := mushroom.NewServer(&opts)
	require.NoError(t, err)
	return server, serve(t, server)
}

// newTestService runs the test service.
func newTestService(t testing.TB, auth any, opts mushroom.ServerOptions) (server *mushroom.Server, url string) {
	t.Helper()
	server, _, url = newService(t, auth, opts)
	return server, url
}

func newService(t testing.TB, auth any, opts mushroom.ServerOptions) (*mushroom.Server, *mushroomtest.Service, string) {
	t.Helper()
	service, server, err := mushroomtest.New(auth, opts)
	require.NoError(t, err)
	t.Cleanup(service.Wait)
	mushroom.SetPollGrace(server, 2*time.Second)
	return server, service, serve(t, server)
}

func dial(t testing.TB, url string, opts *mushroom.DialOptions) *mushroom.Session {
	t.Helper()
	session, err := mushroom.Dial(testContext(t), url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { closeSession(t, session) })
	return session
}

// closeSession ends a session and waits until all that belongs to it is gone.
func closeSession(t testing.TB, session *mushroom.Session) {
	t.Helper()
	assert.NoError(t, session.Close())
	select {
	case <-session.Done():
	case <-time.After(20 * time.Second):
		assert.Fail(t, "the session does not come to its end")
	}
}

// eventually waits for a state that other goroutines bring about.
func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 2*time.Millisecond, what)
}

func readVectors(t testing.TB, part string, rows any) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var parts map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &parts))
	require.NoError(t, json.Unmarshal(parts[part], rows))
}
