package pconn_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

func TestTraceToAFile(t *testing.T) {
	keepsDescriptors(t)
	path := filepath.Join(t.TempDir(), "trace")
	require.NoError(t, os.WriteFile(path, []byte("kept\n"), 0o600))
	t.Setenv(pconn.TraceVariable, path)
	o := serve(echo)
	o.Name = "traced"
	p := raw(t, o)
	traced := func(what string) {
		t.Helper()
		eventually(t, what+" is traced", func() bool {
			b, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(b), what)
		})
	}
	p.write(request(5, 3, "abc"))
	p.expectResponse(5, true, "abc")
	traced("tag 5 response")
	p.write(request(6, 3, ""))
	p.expectResponse(6, true, "")
	traced("tag 6 response")
	res := do(soon(t), p.conn, pconn.Request{Type: 1, Flags: 10})
	tag := p.expectRequest(1, "")
	traced("tag 2 request")
	p.write(response(tag, ""))
	require.NoError(t, receiveFrom(t, res).err)
	p.write(encode(erqPacket))
	p.write(eof)
	p.expectEOF()
	require.NoError(t, p.conn.Wait())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Equal(t, "kept", lines[0])
	stamp := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6} traced `)
	var got []string
	for _, l := range lines[1:] {
		require.Regexp(t, stamp, l)
		got = append(got, stamp.ReplaceAllString(l, ""))
	}
	require.Equal(t, []string{
		"< channel 0 tag 5 request type 3 flags 0x0 payload 3",
		"> channel 0 tag 5 response ok flags 0x0 payload 3",
		"< channel 0 tag 6 request type 3 flags 0x0 payload 0",
		"> channel 0 tag 6 response ok flags 0x0 payload 0",
		"> channel 0 tag 2 request type 1 flags 0xa payload 0",
		"< channel 0 tag 2 response ok flags 0x0 payload 0",
		"< channel 0 tag 1 ERQ payload 0",
		"< channel 0 tag 0 EOF payload 0",
		"> channel 0 tag 0 EOF payload 0",
	}, got)
}

// TestTraceHasHeadersFirst has packets and the HEADERS before them, whose order in the trace is that on the wire.
func TestTraceHasHeadersFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	t.Setenv(pconn.TraceVariable, path)
	p := raw(t, serve(mirror))
	p.sayHello(takesPieces())
	for _, size := range []int{10, 50_000, 300_000} {
		res := do(soon(t), p.conn, pconn.Request{Type: 3, Payload: pattern(size), Metadata: metadata("k", "v")})
		tag := p.expectFrame(frame.KindHeaders).Tag
		for got := p.read(); got.Channel != 0; got = p.read() {
		}
		p.write(response(tag, ""))
		require.NoError(t, receiveFrom(t, res).err)

		p.write(request(uint64(size), 4, string(pattern(size))))
		p.expectFrame(frame.KindHeaders)
		for got := p.read(); got.Channel != 0; got = p.read() {
		}
	}
	require.NoError(t, p.conn.Close())
	n := p.conn.Counters()
	require.EqualValues(t, p.in.Offset()+int64(len(eof)), n.BytesOut.Load())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sent := regexp.MustCompile(`(?m) > channel \d+ tag (\d+) (HEADERS|PIECE|request|response)`)
	headed := make(map[string]bool)
	for _, l := range sent.FindAllStringSubmatch(string(b), -1) {
		switch tag := l[1]; {
		case tag == "1": // the answer to HELLO
		case l[2] == "HEADERS":
			headed[tag] = true
		default:
			require.True(t, headed[tag], "%s", b)
		}
	}
	require.Len(t, headed, 6)
}

func TestTraceFileThatCannotBe(t *testing.T) {
	t.Setenv(pconn.TraceVariable, filepath.Join(t.TempDir(), "no", "such", "directory"))
	_, _, err := pconn.Pipe(nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, pconn.TraceVariable)
}
