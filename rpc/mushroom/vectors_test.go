package mushroom_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// The exchanges in testdata/vectors.json were recorded from the original. What follows replays all of
// them. Texts are compared as JSON values: spacing and \u escapes differ on purpose.

func TestVectorMessages(t *testing.T) {
	var rows []struct {
		Name, Class, JSON string
		Code              mushroom.Kind
	}
	readVectors(t, "messages", &rows)
	require.Len(t, rows, 65)
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			m, err := mushroom.ParseMessage([]byte(row.JSON))
			require.NoError(t, err)
			assert.Equal(t, row.Code, m.Kind)
			assert.Equal(t, row.Class, m.Kind.String())
			text, err := json.Marshal(m)
			require.NoError(t, err)
			assert.JSONEq(t, row.JSON, string(text))

			built, err := json.Marshal(rebuild(t, row.JSON))
			require.NoError(t, err)
			assert.JSONEq(t, row.JSON, string(built), "made from values, not from the text")
		})
	}
}

// rebuild makes the message of a text as a program would, field by field.
func rebuild(t *testing.T, text string) mushroom.Message {
	t.Helper()
	var list []any
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	id := func(v any) mushroom.ID {
		if n, ok := v.(float64); ok {
			return mushroom.IntID(int64(n))
		}
		return mushroom.ID{}
	}
	m := mushroom.Message{Kind: mushroom.Kind(list[0].(float64))}
	if len(list) > 1 {
		m.ID = id(list[1])
	}
	if len(list) > 2 {
		if method, ok := list[2].(string); ok {
			m.Method = method
		} else {
			m.RequestID = id(list[2])
		}
		data, err := json.Marshal(list[3])
		require.NoError(t, err)
		m.Data = data
	}
	return m
}

func TestVectorParse(t *testing.T) {
	var rows []struct {
		JSON    string
		Outcome struct {
			Error, Class string
			Fields       map[string]any
		}
	}
	readVectors(t, "parse", &rows)
	require.Len(t, rows, 36)
	for _, row := range rows {
		t.Run(row.JSON, func(t *testing.T) {
			m, err := mushroom.ParseMessage([]byte(row.JSON))
			if row.Outcome.Error != "" {
				require.ErrorIs(t, err, mushroom.ErrBadMessage)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, row.Outcome.Class, m.Kind.String())
			for name, want := range row.Outcome.Fields {
				text, err := json.Marshal(want)
				require.NoError(t, err)
				assert.JSONEq(t, string(text), field(t, m, name), name)
			}
		})
	}
}

// field is a field of a message under the original's name, as JSON.
func field(t *testing.T, m mushroom.Message, name string) string {
	t.Helper()
	switch name {
	case "last_message_id", "message_id":
		return m.ID.String()
	case "request_message_id":
		return m.RequestID.String()
	case "method":
		if m.BadMethod != nil {
			return string(m.BadMethod)
		}
		text, err := json.Marshal(m.Method)
		require.NoError(t, err)
		return string(text)
	case "data":
		if m.Data == nil {
			return "null"
		}
		return string(m.Data)
	}
	require.Fail(t, "unknown field", name)
	return ""
}

// post is one exchange with a session or base address.
func post(t testing.TB, address, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), http.MethodPost, address, strings.NewReader(body))
	require.NoError(t, err)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// begin asks for a session and returns its address.
func begin(t testing.TB, base, transport string) string {
	t.Helper()
	status, text := post(t, base, `{"transports": ["`+transport+`"]}`)
	require.Equal(t, http.StatusOK, status)
	var w struct{ URL string }
	require.NoError(t, json.Unmarshal([]byte(text), &w))
	return w.URL
}

func TestVectorHTTP(t *testing.T) {
	var rows []struct{ Name, Request, Response string }
	readVectors(t, "http", &rows)
	require.Len(t, rows, 21)
	opts := mushroom.ServerOptions{PollTimeout: 300 * time.Millisecond}
	_, open := newTestService(t, nil, opts)
	_, guarded := newTestService(t, "right", opts)
	polled, socket := begin(t, open, "poll"), begin(t, open, "ws")
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			base, session := open, polled
			switch {
			case strings.HasPrefix(row.Name, "bootstrap, auth"):
				base = guarded
			case row.Name == "unknown session":
				session = open + strings.Repeat("x", 22) + "/"
			case row.Name == "POST to a ws session":
				session = socket
			}
			got, body := exchange(t, base, session, row.Request)
			want, wantBody := parseResponse(t, strings.NewReader(row.Response))
			assert.Equal(t, want.StatusCode, got.StatusCode)
			// The original keeps silent about the connection that it closes.
			for _, h := range []http.Header{got.Header, want.Header} {
				h.Del("Connection")
				h.Del("Date")
				h.Del("Content-Length") // counts the spaces, too
			}
			assert.Equal(t, want.Header, got.Header)
			compareBodies(t, wantBody, maskAddress(body, base))
		})
	}
}

// exchange sends a recorded request as it is, with the addresses of today.
func exchange(t *testing.T, base, session, request string) (*http.Response, string) {
	t.Helper()
	u, err := url.Parse(session)
	require.NoError(t, err)
	b, err := url.Parse(base)
	require.NoError(t, err)
	request = strings.Replace(request, "/SID/", u.Path, 1)
	request = strings.Replace(request, "Host: HOST", "Host: "+b.Host, 1)
	conn, err := net.Dial("tcp", b.Host)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	return parseResponse(t, conn)
}

func parseResponse(t *testing.T, in io.Reader) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(in), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	var body strings.Builder
	_, err = io.Copy(&body, response.Body)
	// The recorded length counts the address before it was masked.
	if err != nil {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	return response, body.String()
}

// maskAddress hides what differs from run to run, as the recording does.
func maskAddress(body, base string) string {
	u, err := url.Parse(base)
	if err != nil || !strings.Contains(body, u.Host) {
		return body
	}
	var w map[string]string
	if json.Unmarshal([]byte(body), &w) != nil {
		return body
	}
	parts := strings.Split(w["url"], "/")
	if len(parts) == 5 && len(parts[3]) == 22 {
		parts[2], parts[3] = "HOST", "SID"
		w["url"] = strings.Join(parts, "/")
	}
	text, _ := json.Marshal(w)
	return string(text)
}

func compareBodies(t *testing.T, want, got string) {
	t.Helper()
	if json.Valid([]byte(want)) {
		assert.JSONEq(t, want, got)
		return
	}
	assert.Equal(t, want, got)
}

// meantAnswers are the poll answers that differ from the recording on purpose, by session and step. Their status is 200.
var meantAnswers = map[string]map[int]string{
	// fail_request: the data of a failed request is passed on; the original loses it.
	"errors": {4: `[[4, 4, 4, {"x": 1}], [0, 4]]`},
	// The answer to the ping of the same body comes along.
	"server pushes": {1: `[[3, 2, 0, 2], [3, 3, 1, "pong"], [0, 1]]`},
	// The last answer is given again; the original answers 404 to a client that lost it.
	"server drops the session": {1: `[[-1], [3, 0, 0, "dropped"], [0, 0]]`},
}

func TestVectorPollSessions(t *testing.T) {
	var rows []struct {
		Name  string
		Steps [][3]any
	}
	readVectors(t, "sessions", &rows)
	require.Len(t, rows, 15)
	_, base := newTestService(t, nil, mushroom.ServerOptions{PollTimeout: 300 * time.Millisecond})
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			session := begin(t, base, "poll")
			for i, step := range row.Steps {
				body, want := step[0].(string), step[2].(string)
				wantStatus := step[1]
				if meant, ok := meantAnswers[row.Name][i]; ok {
					wantStatus, want = 200, meant
				}
				status, got := post(t, session, body)
				assert.EqualValues(t, wantStatus, status, body)
				compareBodies(t, want, got)
			}
		})
	}
}
