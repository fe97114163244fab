package mushroomtest_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWhatIsKeptIsBounded: the command serves the service for as long as it is left running.
func TestWhatIsKeptIsBounded(t *testing.T) {
	service, server, err := mushroomtest.New(nil, mushroom.ServerOptions{})
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	defer listener.Close()
	defer service.Wait()
	defer func() { assert.NoError(t, server.Shutdown(t.Context())) }()
	s, err := mushroom.Dial(t.Context(), listener.URL, &mushroom.DialOptions{Auth: strings.Repeat("x", 2000)})
	require.NoError(t, err)
	defer func() {
		assert.NoError(t, s.Close())
		<-s.Done()
	}()
	events, err := mushroom.Call[[][2]any](t.Context(), s, "events", nil)
	require.NoError(t, err)
	assert.Equal(t, [][2]any{{"authenticate", "too large to be kept"}, {"connect", "ws"}}, events)

	for n := range 1005 {
		require.NoError(t, s.Notify("note", n))
	}
	notes, err := mushroom.Call[[]int](t.Context(), s, "notes", nil)
	require.NoError(t, err)
	require.Len(t, notes, 1000)
	assert.Equal(t, []int{5, 1004}, []int{notes[0], notes[999]})

	for range 510 {
		other, err := mushroom.Dial(t.Context(), listener.URL, &mushroom.DialOptions{Transports: []string{"poll"}})
		require.NoError(t, err)
		require.NoError(t, other.Close())
		<-other.Done()
	}
	events, err = mushroom.Call[[][2]any](t.Context(), s, "events", nil)
	require.NoError(t, err)
	assert.Len(t, events, 1000)
}
