package testservice_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns an end that calls the service, and serves it too for what is asked back.
func connect(t *testing.T) (*pconn.Conn, *testservice.Service) {
	t.Helper()
	service := testservice.New("v1")
	a, b, err := pconn.Pipe(&pconn.Options{Handler: testservice.New("")}, &pconn.Options{Handler: service})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
	return a, service
}

func TestAnswers(t *testing.T) {
	failed := pconn.Response{Payload: []byte("exception during handler")}
	ok := func(flags uint64, payload string) pconn.Response {
		r := pconn.Response{OK: true, Flags: flags}
		if payload != "" {
			r.Payload = []byte(payload)
		}
		return r
	}
	conn, _ := connect(t)
	for _, c := range []struct {
		name    string
		typ     uint64
		payload string
		want    pconn.Response
	}{
		{"none", testservice.None, "x", ok(0, "")},
		{"flags", testservice.Flags, "x", ok(5, "")},
		{"bytes", testservice.Bytes, "\x00\xff", ok(0, "\x00\xff")},
		{"text", testservice.Text, "naïve 漢字", ok(0, "naïve 漢字")},
		{"text with a surrogate", testservice.Text, "a\xed\xa0\x80b", ok(0, "a&#55296;b")},
		{"text that is none", testservice.Text, "a\xff", failed},
		{"text that ends in a surrogate", testservice.Text, "a\xed\xa0", failed},
		{"pair", testservice.Pair, "x", ok(5, "x")},
		{"raise", testservice.Raise, "x", failed},
		{"sleep", testservice.Sleep, "1:x", ok(5, "1:x")},
		{"sleep without a time", testservice.Sleep, "x", failed},
		{"back", testservice.Back, "\x04x", ok(5, "x")},
		{"back to a failure", testservice.Back, "\x05", failed},
		{"back to nothing", testservice.Back, "", failed},
		{"back and back", testservice.Back, "\x07\x07\x04x", ok(5, "x")},
		{"huge", testservice.Huge, "3", ok(0, "\x00\x01\x02")},
		{"huge without a size", testservice.Huge, "-1", failed},
		{"unknown", 1000, "", failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := conn.Do(t.Context(), pconn.Request{Type: c.typ, Flags: 5, Payload: []byte(c.payload)})
			require.Equal(t, c.want.OK, err == nil)
			require.Equal(t, c.want, got)
		})
	}
}

func TestHugeBytes(t *testing.T) {
	b := testservice.HugeBytes(253)
	require.Equal(t, []byte{249, 250, 0, 1}, b[249:])
}

// A sleep ends with its connection.
func TestSleepEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := testservice.New("").ServePacket(ctx, &pconn.Request{Type: testservice.Sleep, Payload: []byte("100000")})
	require.ErrorIs(t, err, context.Canceled)
}

func TestCounts(t *testing.T) {
	conn, service := connect(t)
	for range 3 {
		_, err := conn.Do(t.Context(), pconn.Request{Type: testservice.Bytes})
		require.NoError(t, err)
	}
	resp, err := conn.Do(t.Context(), pconn.Request{Type: testservice.Info})
	require.NoError(t, err)
	var info struct {
		Version string
		Counts  map[uint64]int
	}
	require.NoError(t, json.Unmarshal(resp.Payload, &info))
	require.Equal(t, "v1", info.Version)
	require.Equal(t, map[uint64]int{testservice.Bytes: 3, testservice.Info: 1}, info.Counts)
	require.Equal(t, info.Counts, service.Counts())
	require.Equal(t, 3, service.Count(testservice.Bytes))
	require.Equal(t, 1, service.MaxRunning())
}
