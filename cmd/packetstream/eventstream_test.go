package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// execute runs a command line and returns what it printed.
func execute(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs(append([]string{"eventstream"}, args...))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = root.ExecuteContext(ctx)
	return out.String(), err
}

func encode(t *testing.T, headers eventstream.Headers, payload string) []byte {
	t.Helper()
	b, err := eventstream.AppendFrame(nil, headers, []byte(payload))
	require.NoError(t, err)
	return b
}

func TestEventstreamDecode(t *testing.T) {
	wire := encode(t, eventstream.Headers{
		eventstream.Bool("b", true), eventstream.Int64("big", 1<<60), eventstream.Bytes("raw", []byte{1}), eventstream.Int16("i", -3),
	}, "<text>")
	wire = append(wire, encode(t, nil, "\xff")...)
	out, err := execute(t, string(wire), "decode")
	require.NoError(t, err)
	assert.Equal(t, `{"offset":0,"length":51,"headers":[{"name":"b","type":"bool_true","value":true},`+
		`{"name":"big","type":"int64","value":"1152921504606846976"},{"name":"raw","type":"byte_buf","value":"AQ=="},`+
		`{"name":"i","type":"int16","value":-3}],"payload":"<text>","encoding":"utf-8"}
{"offset":51,"length":17,"headers":[],"payload":"/w==","encoding":"base64"}
`, out)

	spaced := strings.ToUpper(hex.EncodeToString(wire[:51]))
	again, err := execute(t, spaced[:33]+" \n\t"+spaced[33:]+"\n", "decode", "--hex", "-")
	require.NoError(t, err)
	assert.Equal(t, out[:strings.IndexByte(out, '\n')+1], again)
}

func TestEventstreamDecodeBad(t *testing.T) {
	// An undefined header type: 1 byte of name, type 10.
	bad, err := hex.DecodeString("000000130000000308c8c3a3016a0a")
	require.NoError(t, err)
	good := encode(t, nil, "x")
	out, err := execute(t, string(good)+string(bad), "decode")
	require.ErrorContains(t, err, "at offset 17")
	assert.Equal(t, exitFailed, exitCode(err))
	assert.Equal(t, 1, strings.Count(out, "\n"))
	_, err = execute(t, "zz", "decode", "--hex")
	require.Error(t, err)
	_, err = execute(t, "", "decode", filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
	_, err = execute(t, "", "decode", "a", "b")
	assert.Equal(t, exitUsage, exitCode(err))
}

// TestEventstreamDecodeGoesOn prints what stands behind a message with a bad header.
func TestEventstreamDecodeGoesOn(t *testing.T) {
	// The third byte of the headers is the type: make it undefined and mend the checksum.
	wire := encode(t, eventstream.Headers{eventstream.Bool("j", true)}, "")
	wire = mend(append(wire[:14:14], 10, 0, 0, 0, 0))
	wire = append(wire, encode(t, nil, "behind")...)
	out, err := execute(t, string(wire), "decode")
	require.ErrorContains(t, err, "bad header: 1")
	lines := strings.Split(out, "\n")
	require.Len(t, lines, 3)
	assert.Contains(t, lines[0], "undefined header type")
	assert.Contains(t, lines[1], "behind")
}

func startEventstream(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := eventstreamtest.New()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		<-served
	})
	return "tcp:" + l.Addr().String()
}

func TestEventstreamCall(t *testing.T) {
	address := startEventstream(t)
	tests := map[string]struct {
		stdin string
		args  []string
		want  string
		exit  int
	}{
		"echo":                {"", []string{"interop#Echo", "-p", "hello"}, "hello\n", exitOK},
		"all":                 {"", []string{"interop#Count", "-p", "3", "--all"}, "0\n1\n2\n", exitOK},
		"lines":               {"12345\nend\n", []string{"interop#Sink", "-p", "123", "--lines"}, "8\n", exitOK},
		"lines, idle":         {"b\nc\n", []string{"interop#Chat", "-p", "a", "--lines", "--idle", "200ms"}, "a\nb\nc\n", exitOK},
		"fails":               {"", []string{"interop#Fail", "-p", "why"}, "", exitFailed},
		"fails, all":          {"", []string{"interop#Fail", "-p", "why", "--all"}, "", exitFailed},
		"rejected":            {"", []string{"interop#Echo", "--connect-header", "interop-connect=reject"}, "", exitFailed},
		"dropped":             {"", []string{"interop#Drop"}, "", exitLost},
		"time is up":          {"", []string{"interop#Hold", "--timeout", "50ms"}, "", exitTimeout},
		"time is up, all":     {"", []string{"interop#Hold", "--timeout", "50ms", "--all"}, "", exitTimeout},
		"bad header":          {"", []string{"interop#Echo", "-H", "nonsense"}, "", exitUsage},
		"bad connect header":  {"", []string{"interop#Echo", "--connect-header", "x:byte=300"}, "", exitUsage},
		"operation missing":   {"", nil, "", exitUsage},
		"authorities missing": {"", []string{"interop#Echo", "--ca", "/nonexistent"}, "\n", exitOK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := execute(t, test.stdin, append([]string{"call", address}, test.args...)...)
			assert.Equal(t, test.exit, exitCode(err), "%v", err)
			assert.Equal(t, test.want, out)
		})
	}
	_, err := execute(t, "", "call", "http://x", "op")
	assert.Equal(t, exitUsage, exitCode(err))
}

func TestEventstreamCallJSON(t *testing.T) {
	address := startEventstream(t)
	headers := []string{
		"t:bool=true", "b:byte=-1", "s:int16=0x10", "i:int32=5", "l:int64=6", "raw:byte_buf=AQI=", ":colon=v", "str:string=a:b=c",
		"when:timestamp=7", "id:uuid=01234567-89ab-cdef-0123-456789abcdef",
	}
	args := []string{"call", address, "interop#Echo", "--json"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	out, err := execute(t, "", args...)
	require.NoError(t, err)
	var m eventstreamMessage
	require.NoError(t, json.Unmarshal([]byte(out), &m))
	want := []eventstreamHeader{
		{"t", "bool_true", true}, {"b", "byte", -1.0}, {"s", "int16", 16.0}, {"i", "int32", 5.0}, {"l", "int64", "6"}, {"raw", "byte_buf", "AQI="},
		{":colon", "string", "v"}, {"str", "string", "a:b=c"}, {"when", "timestamp", "7"}, {"id", "uuid", "01234567-89ab-cdef-0123-456789abcdef"},
	}
	assert.Equal(t, want, m.Headers[:len(want)])

	out, err = execute(t, "", "call", address, "interop#Fail", "--json", "-p", "why")
	require.Error(t, err)
	assert.Contains(t, out, `"payload":"why"`)
	for _, bad := range []string{"id:uuid=00", "raw:byte_buf=%", "t:bool=x"} {
		_, err = execute(t, "", "call", address, "interop#Echo", "-H", bad)
		assert.Equal(t, exitUsage, exitCode(err), bad)
	}
}

func TestEventstreamServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenEventstream(&cobra.Command{}, "unix:"+path, "", "")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	served := make(chan error, 1)
	go func() { served <- serveEventstream(ctx, eventstreamtest.New(), l, &said) }()
	out, err := execute(t, "", "call", "unix:"+path, "interop#Echo", "-p", "over a socket")
	require.NoError(t, err)
	assert.Equal(t, "over a socket\n", out)
	cancel()
	require.NoError(t, <-served)
	assert.Equal(t, "LISTENING "+path+"\n", said.String())

	_, err = execute(t, "", "serve", "--listen", "tls:127.0.0.1:0", "--cert", "/nonexistent", "--key", "/nonexistent")
	assert.Equal(t, exitUsage, exitCode(err))
	_, err = execute(t, "", "serve", "--listen", "carrier-pigeon")
	assert.Equal(t, exitUsage, exitCode(err))
	_, err = execute(t, "", "serve", "--listen", "unix:"+filepath.Join(t.TempDir(), "no/such/directory"))
	require.Error(t, err)
}

// mend makes the checksum of an encoded message right again.
func mend(b []byte) []byte {
	end := len(b) - 4
	binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[:end]))
	return b
}

func TestEventstreamTLS(t *testing.T) {
	// Its certificate is for 127.0.0.1, and its own authority.
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(web.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))

	l, err := listenEventstream(&cobra.Command{}, "tls:127.0.0.1:0", cert, key)
	require.NoError(t, err)
	s := eventstreamtest.New()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	address := "tls:" + l.Addr().String()
	out, err := execute(t, "", "call", address, "interop#Echo", "--ca", cert, "-p", "secret")
	require.NoError(t, err)
	assert.Equal(t, "secret\n", out)
	_, err = execute(t, "", "call", address, "interop#Echo")
	require.Error(t, err, "an authority that nobody trusts")
	_, err = execute(t, "", "call", address, "interop#Echo", "--ca", key)
	require.ErrorContains(t, err, "no certificate")
	require.NoError(t, s.Close())
	<-served
}
