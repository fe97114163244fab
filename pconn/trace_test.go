package pconn_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	p.write(request(5, 3, "abc"))
	p.expectResponse(5, true, "abc")
	p.write(request(6, 3, ""))
	p.expectResponse(6, true, "")
	res := do(soon(t), p.conn, pconn.Request{Type: 1, Flags: 10})
	p.write(response(p.expectRequest(1, ""), ""))
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

func TestTraceFileThatCannotBe(t *testing.T) {
	t.Setenv(pconn.TraceVariable, filepath.Join(t.TempDir(), "no", "such", "directory"))
	_, _, err := pconn.Pipe(nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, pconn.TraceVariable)
}
