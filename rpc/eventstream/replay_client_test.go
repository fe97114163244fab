package eventstream_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

type clientCase struct {
	Name        string   `json:"name"`
	Client      string   `json:"client"`
	ServerSends []string `json:"server_sends"`
	ClientSends []struct {
		Hex string `json:"hex"`
	} `json:"client_sends"`
	ClientClosed bool     `json:"client_closed"`
	Callbacks    []string `json:"callbacks"`
}

// meant are the cases in which this client differs from the reference, which loses such messages without
// a word: an undefined header type is refused as any malformed header is, a string that is not UTF-8 is passed on.
var meant = map[string]func(c *clientCase){
	"header type 10": func(c *clientCase) {
		internal := rawMessage(eventstream.Message{
			Type:    eventstream.MessageTypeInternalError,
			Headers: eventstream.Headers{eventstream.String(":content-type", "application/json")},
			Payload: []byte(`{ "message": "An error occurred on the peer endpoint. This is not likely caused by your endpoint." }`),
		}, 0, "")
		c.ClientSends = append(c.ClientSends, struct {
			Hex string `json:"hex"`
		}{fmt.Sprintf("%x", internal)})
		c.ClientClosed = true
		c.Callbacks = []string{"stream1:closed", "shutdown:AWS_ERROR_EVENT_STREAM_RPC_PROTOCOL_ERROR"}
	},
	"string header not utf-8": func(c *clientCase) {
		c.Callbacks = append([]string{"stream1:0/0:x"}, c.Callbacks...)
	},
}

// reasons are this package's names for the reference's shutdown reasons.
var reasons = map[string]error{
	"AWS_ERROR_EVENT_STREAM_RPC_PROTOCOL_ERROR":          eventstream.ErrProtocol,
	"AWS_IO_SOCKET_CLOSED":                               eventstream.ErrPeerClosed,
	"AWS_ERROR_EVENT_STREAM_PRELUDE_CHECKSUM_FAILURE":    eventstream.ErrPreludeChecksum,
	"AWS_ERROR_EVENT_STREAM_MESSAGE_CHECKSUM_FAILURE":    eventstream.ErrMessageChecksum,
	"AWS_ERROR_EVENT_STREAM_BUFFER_LENGTH_MISMATCH":      eventstream.ErrLength,
	"AWS_ERROR_EVENT_STREAM_MESSAGE_FIELD_SIZE_EXCEEDED": eventstream.ErrTooLarge,
	"AWS_ERROR_EVENT_STREAM_MESSAGE_INVALID_HEADERS_LEN": eventstream.ErrHeadersLength,
}

// recorder notes the callbacks of a connection as the recorded cases write them.
type recorder struct {
	mu     sync.Mutex
	log    []string
	reason error
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

// take returns what was noted; streams that close together do so in no order.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.log)
	for i := 0; i+1 < len(out); i++ {
		if strings.HasSuffix(out[i], ":closed") && strings.HasSuffix(out[i+1], ":closed") && out[i] < out[i+1] {
			out[i], out[i+1] = out[i+1], out[i]
		}
	}
	return out
}

func (r *recorder) connHandler() *eventstream.ConnHandler {
	return &eventstream.ConnHandler{
		Setup: func(*eventstream.ClientConn) { r.note("setup") },
		ProtocolMessage: func(_ *eventstream.ClientConn, m *eventstream.Message) {
			r.note("protocol:%d/%d:%s", m.Type, m.Flags, m.Payload)
		},
		Shutdown: func(_ *eventstream.ClientConn, reason error) {
			r.mu.Lock()
			r.reason = reason
			r.mu.Unlock()
			r.note("shutdown")
		},
	}
}

func (r *recorder) streamHandler() *eventstream.ContinuationHandler {
	return &eventstream.ContinuationHandler{
		Message: func(k *eventstream.Continuation, m *eventstream.Message) {
			r.note("stream%d:%d/%d:%s", k.ID(), m.Type, m.Flags, m.Payload)
		},
		Closed: func(k *eventstream.Continuation, _ error) { r.note("stream%d:closed", k.ID()) },
	}
}

// startClient brings a client to where a recorded case begins.
func startClient(t *testing.T, part string, r *recorder) (c *eventstream.ClientConn, server half, got *collector) {
	t.Helper()
	client, server := newPipe()
	got = collect(server)
	c, err := eventstream.NewConn(client, r.connHandler(), nil)
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, []string{"setup"}, r.take())
	r.reset()
	if part == "socket" {
		return c, server, got
	}
	require.NoError(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypeConnect}, nil))
	if part == "connect" {
		return c, server, got
	}
	_, err = server.Write(rawMessage(eventstream.Message{
		Type: eventstream.MessageTypeConnectAck, Flags: eventstream.FlagConnectionAccepted,
	}, 0, ""))
	require.NoError(t, err)
	synctest.Wait()
	r.reset()
	for range map[string]int{"stream": 1, "two": 2}[part] {
		require.NoError(t, c.NewStream(r.streamHandler()).Activate("op", &eventstream.Message{Payload: []byte("go")}, nil))
	}
	return c, server, got
}

func TestClientCases(t *testing.T) {
	var cases []clientCase
	readJSON(t, "client_cases.json", &cases)
	require.Len(t, cases, 66)
	for _, c := range cases {
		if change := meant[c.Name]; change != nil {
			change(&c)
		}
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playClient(t, c) })
		})
	}
}

func playClient(t *testing.T, c clientCase) {
	t.Helper()
	r := &recorder{}
	client, server, got := startClient(t, c.Client, r)
	synctest.Wait()
	before := len(got.messages(t))
	for _, s := range c.ServerSends {
		switch s {
		case "eof":
			require.NoError(t, server.w.Close())
		case "rst":
			server.reset(syscall.ECONNRESET)
		default:
			_, _ = server.Write(unhex(t, s))
		}
		synctest.Wait()
	}
	time.Sleep(patience)
	assert.Equal(t, c.ClientClosed, !client.IsOpen())

	want := slices.Clone(c.Callbacks)
	if n := len(want); c.ClientClosed {
		name, found := strings.CutPrefix(want[n-1], "shutdown:")
		require.True(t, found)
		require.Contains(t, reasons, name)
		require.ErrorIs(t, r.reason, reasons[name])
		require.ErrorIs(t, client.Err(), reasons[name])
		want[n-1] = "shutdown"
	}
	if len(want) == 0 {
		want = nil
	}
	assert.Equal(t, want, r.take())

	var sent []string
	for _, m := range got.messages(t)[before:] {
		sent = append(sent, m.bytes)
	}
	var wantSent []string
	for _, m := range c.ClientSends {
		wantSent = append(wantSent, string(unhex(t, m.Hex)))
	}
	assert.Equal(t, wantSent, sent)

	require.NoError(t, client.Close())
	<-client.Done()
	require.NoError(t, server.Close())
	<-got.done
}

// TestClientSessions has this client say what the reference's client said in captured conversations, and compares
// every byte.
func TestClientSessions(t *testing.T) {
	for _, s := range readVectors(t).Sessions {
		t.Run(s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playClientSession(t, s.Messages) })
		})
	}
}

func playClientSession(t *testing.T, messages []vector) {
	t.Helper()
	r := &recorder{}
	client, server, got := startClient(t, "socket", r)
	streams := map[int32]*eventstream.Continuation{}
	var wantSent, wantSeen []string
	for _, v := range messages {
		if v.EOF {
			break
		}
		raw := unhex(t, *v.Hex)
		var f eventstream.Frame
		_, err := eventstream.ParseFrame(raw, &f)
		require.NoError(t, err)
		id, m := readBack(f)
		if v.Dir == "s2c" {
			if id == 0 {
				wantSeen = append(wantSeen, fmt.Sprintf("protocol:%d/%d:%s", m.Type, m.Flags, m.Payload))
			} else {
				wantSeen = append(wantSeen, fmt.Sprintf("stream%d:%d/%d:%s", id, m.Type, m.Flags, m.Payload))
			}
			_, err := server.Write(raw)
			require.NoError(t, err)
			synctest.Wait()
			continue
		}
		err = say(client, streams, r, id, m, f.Headers.Text("operation"))
		if err != nil {
			// The rest of the conversation is about a message that this client does not send.
			require.ErrorIs(t, err, eventstream.ErrMessageType)
			break
		}
		wantSent = append(wantSent, string(raw))
		synctest.Wait()
	}
	var sent []string
	for _, w := range got.messages(t) {
		sent = append(sent, w.bytes)
	}
	assert.Equal(t, wantSent, sent)
	seen := slices.DeleteFunc(r.take(), func(s string) bool { return strings.HasSuffix(s, ":closed") })
	assert.Equal(t, wantSeen, seen)
	require.NoError(t, client.Close())
	<-client.Done()
	require.NoError(t, server.Close())
	<-got.done
}

// readBack undoes what the writer adds, and only that: the last three headers, and the operation behind them.
func readBack(f eventstream.Frame) (id int32, m eventstream.Message) {
	hs := slices.Clone(f.Headers)
	if last := hs[len(hs)-1]; last.Name() == "operation" {
		hs = hs[:len(hs)-1]
	}
	n := len(hs)
	typ, _ := hs[n-3].Int32()
	flags, _ := hs[n-2].Int32()
	id, _ = hs[n-1].Int32()
	return id, eventstream.Message{
		Type: eventstream.MessageType(typ), Flags: eventstream.MessageFlag(flags), Headers: hs[:n-3], Payload: f.Payload,
	}
}

func say(c *eventstream.ClientConn, streams map[int32]*eventstream.Continuation, r *recorder,
	id int32, m eventstream.Message, operation string) error {
	if id == 0 {
		if _, spoofed := m.Headers.Lookup(":stream-id"); spoofed {
			return eventstream.ErrMessageType
		}
		return c.SendProtocolMessage(&m, nil)
	}
	if k := streams[id]; k != nil {
		return k.SendMessage(&m, nil)
	}
	streams[id] = c.NewStream(r.streamHandler())
	return streams[id].Activate(operation, &m, nil)
}
