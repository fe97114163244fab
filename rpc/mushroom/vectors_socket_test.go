package mushroom_test

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// quiet is how long a replay watches for frames that should not come.
const quiet = 40 * time.Millisecond

// wire is a bare websocket client that sees every frame.
type wire struct {
	conn     net.Conn
	in       *bufio.Reader
	response *http.Response
}

func openWire(t testing.TB, address string) *wire {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, "GET "+u.Path+" HTTP/1.1\r\nHost: "+u.Host+
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"+
		"Sec-WebSocket-Version: 13\r\n\r\n")
	require.NoError(t, err)
	w := &wire{conn: conn, in: bufio.NewReader(conn)}
	w.response, err = http.ReadResponse(w.in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, w.response.StatusCode)
	return w
}

// send writes one masked frame.
func (w *wire) send(t testing.TB, opcode byte, payload []byte) {
	t.Helper()
	frame := []byte{0x80 | opcode}
	if len(payload) < 126 {
		frame = append(frame, 0x80|byte(len(payload)))
	} else {
		frame = append(frame, 0x80|126)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(payload)))
	}
	_, err := w.conn.Write(append(append(frame, 0, 0, 0, 0), payload...))
	require.NoError(t, err)
}

// receive reads one frame, or "eof" for the connection's end, or "" if nothing comes in time.
func (w *wire) receive(t testing.TB, wait time.Duration) (opcode any, payload string) {
	t.Helper()
	require.NoError(t, w.conn.SetReadDeadline(time.Now().Add(wait)))
	head, err := w.in.Peek(2)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", ""
	case err != nil:
		return "eof", ""
	}
	size := int(head[1] & 127)
	_, err = w.in.Discard(2)
	require.NoError(t, err)
	if size == 126 {
		var long [2]byte
		_, err = io.ReadFull(w.in, long[:])
		require.NoError(t, err)
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	data := make([]byte, size)
	_, err = io.ReadFull(w.in, data)
	require.NoError(t, err)
	code := float64(head[0] & 15)
	if code == 1 {
		return code, string(data)
	}
	return code, hex.EncodeToString(data)
}

type frameRow struct {
	Name              string
	Frames            [][3]any
	Request, Response string
}

// meantFrames are the frames that differ from the recording on purpose, by row and index.
var meantFrames = map[string]map[int][3]any{
	// The data of a failed request is passed on; the original loses it.
	"errors": {11: {"<", 1.0, `[4, 3, 3, {"x": 1}]`}},
	// A close frame is answered with its code, as RFC 6455 asks.
	"websocket close with a code": {1: {"<", 8.0, "03e8"}},
}

func TestVectorWebsocket(t *testing.T) {
	var rows []frameRow
	readVectors(t, "websocket", &rows)
	require.Len(t, rows, 31)
	_, base := newTestService(t, nil, mushroom.ServerOptions{PollTimeout: 300 * time.Millisecond})
	used := begin(t, base, "ws")
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			w := openWire(t, rowAddress(t, base, used, row.Name))
			if row.Response != "" {
				want, _ := parseResponse(t, strings.NewReader(row.Response))
				w.response.Header.Del("Date") // the original's upgrade has none
				assert.Equal(t, want.Header, w.response.Header)
			}
			if strings.HasPrefix(row.Name, "messages queued") {
				// The recording sent its first frame without reading what was there.
				row.Frames[0], row.Frames[1] = row.Frames[1], row.Frames[0]
			}
			for i, frame := range row.Frames {
				if meant, ok := meantFrames[row.Name][i]; ok {
					frame = meant
				}
				replayFrame(t, w, frame)
			}
			opcode, payload := w.receive(t, quiet)
			if opcode != "eof" {
				assert.Empty(t, opcode, payload)
			}
		})
	}
}

func replayFrame(t *testing.T, w *wire, frame [3]any) {
	t.Helper()
	direction, payload := frame[0].(string), frame[2].(string)
	if direction == ">" {
		opcode, unexpected := w.receive(t, quiet)
		require.Empty(t, opcode, unexpected)
		data := []byte(payload)
		if frame[1].(float64) != 1 {
			var err error
			data, err = hex.DecodeString(payload)
			require.NoError(t, err)
		}
		w.send(t, byte(frame[1].(float64)), data)
		return
	}
	opcode, got := w.receive(t, 20*time.Second)
	require.Equal(t, frame[1], opcode)
	if opcode == 1.0 {
		require.JSONEq(t, payload, got)
		return
	}
	require.Equal(t, payload, got)
}

// rowAddress is the session that a row opens, with what the recording did before.
func rowAddress(t *testing.T, base, used, name string) string {
	t.Helper()
	switch name {
	case "unknown session":
		return base + strings.Repeat("x", 22) + "/"
	case "root path":
		return base
	case "websocket on a poll session":
		return begin(t, base, "poll")
	case "a session's socket":
		return used
	case "the same session's URL again, after it closed":
		return used
	case "messages queued before the socket opened are sent on opening":
		early := begin(t, base, "ws")
		talker := openWire(t, begin(t, base, "ws"))
		talker.send(t, 1, []byte(`[2,0,"broadcast","early"]`))
		for range 3 { // the acknowledgement, the broadcast, the answer
			opcode, _ := talker.receive(t, 20*time.Second)
			require.Equal(t, 1.0, opcode)
		}
		return early
	}
	return begin(t, base, "ws")
}
