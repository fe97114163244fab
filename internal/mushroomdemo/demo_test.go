package mushroomdemo_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/internal/mushroomdemo"
	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startDemo(t *testing.T) (url string) {
	t.Helper()
	demo, err := mushroomdemo.New(nil)
	require.NoError(t, err)
	server := httptest.NewServer(demo)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		assert.NoError(t, demo.Close(ctx))
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL + "/"
}

func TestChat(t *testing.T) {
	url := startDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	said := make(chan mushroomdemo.Line, 10)
	var methods mushroom.Registry
	require.NoError(t, methods.Register("said", mushroom.Func(func(_ context.Context, l mushroomdemo.Line) (any, error) {
		said <- l
		return nil, nil
	})))
	s, err := mushroom.Dial(ctx, url+"rpc/", &mushroom.DialOptions{Dispatcher: &methods})
	require.NoError(t, err)
	defer func() {
		assert.NoError(t, s.Close())
		<-s.Done()
	}()

	fails := func(method string, data any, why string) {
		t.Helper()
		_, err := s.Request(ctx, method, data)
		var failed *mushroom.RequestError
		require.ErrorAs(t, err, &failed)
		assert.Contains(t, string(failed.Data), why)
	}
	fails("say", "hello", "join first")
	fails("join", " ", "too long or empty")
	fails("join", 5, "Invalid data")
	history, err := mushroom.Call[[]mushroomdemo.Line](ctx, s, "join", "Ada")
	require.NoError(t, err)
	assert.Empty(t, history)
	fails("say", strings.Repeat("x", 501), "too long or empty")

	for n := range 60 {
		_, err = s.Request(ctx, "say", " hello "+string(rune('A'+n)))
		require.NoError(t, err)
		line := <-said
		assert.Equal(t, n+1, line.N)
		assert.Equal(t, "Ada", line.From)
		assert.Equal(t, "hello "+string(rune('A'+n)), line.Text)
	}
	history, err = mushroom.Call[[]mushroomdemo.Line](ctx, s, "join", "Ada")
	require.NoError(t, err)
	require.Len(t, history, 50)
	assert.Equal(t, "hello K", history[0].Text)
}

func TestPageIsServed(t *testing.T) {
	url := startDemo(t)
	for path, contentType := range map[string]string{
		"": "text/html; charset=utf-8", "demo.js": "text/javascript; charset=utf-8",
		"demo.css": "text/css; charset=utf-8", "mushroom.js": "text/javascript; charset=utf-8",
	} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		response.Body.Close()
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
		assert.Equal(t, contentType, response.Header.Get("Content-Type"), path)
	}
}

// TestBrowser drives the page and the module in Chromium, with both transports. Screenshots are left in
// PACKETSTREAM_SCREENSHOTS if that is set.
func TestBrowser(t *testing.T) {
	modules := livepeer.Dir(t, "mushroom-browser")
	node, chromium := livepeer.Node(t, 20), livepeer.Program(t, "chromium")
	_, service, err := mushroomtest.New("secret", mushroom.ServerOptions{})
	require.NoError(t, err)
	listener := httptest.NewServer(service)
	defer listener.Close()
	defer func() { assert.NoError(t, service.Shutdown(t.Context())) }()
	screenshots := os.Getenv("PACKETSTREAM_SCREENSHOTS")
	if screenshots == "" {
		screenshots = t.TempDir()
	}

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/browser/page.cjs", "--modules", modules,
		"--chromium", chromium, "--demo", startDemo(t), "--service", listener.URL+"/",
		"--screenshots", screenshots)
	cmd.WaitDelay = 5 * time.Second // for the browser
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	assert.Len(t, regexp.MustCompile(`(?m)^ok `).FindAll(out, -1), 18)
}
