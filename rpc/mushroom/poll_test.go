package mushroom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// direct exchanges with a server without a network, so that synctest's clock counts.
func direct(ctx context.Context, server *mushroom.Server, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body)))
	return w
}

// directly begins a poll session with a server for synctest's clock and returns its path.
func directly(t *testing.T, opts mushroom.ServerOptions) (server *mushroom.Server, path string) {
	t.Helper()
	server, err := mushroom.NewServer(&opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Shutdown(context.Background())) })
	var welcome struct{ URL string }
	require.NoError(t, json.Unmarshal(direct(t.Context(), server, "/", `{"transports":["poll"]}`).Body.Bytes(), &welcome))
	u, err := url.Parse(welcome.URL)
	require.NoError(t, err)
	return server, u.Path
}

// TestPollKeepsASessionAlive: a poll in progress counts as presence, however long it waits.
func TestPollKeepsASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, path := directly(t, mushroom.ServerOptions{SessionTimeout: time.Minute, PollTimeout: time.Hour})
		for range 2 {
			time.Sleep(59 * time.Second)
			start := time.Now()
			w := direct(t.Context(), server, path, `[[0,null]]`)
			assert.Equal(t, 200, w.Code)
			assert.Equal(t, "[]", w.Body.String())
			assert.Equal(t, time.Hour, time.Since(start))
		}
		time.Sleep(59 * time.Second)
		assert.Equal(t, 200, direct(t.Context(), server, path, "[]").Code)
		time.Sleep(61 * time.Second)
		assert.Equal(t, 404, direct(t.Context(), server, path, "[]").Code)
		assert.Zero(t, server.Len())
	})
}

func TestTwoPollsGetTheSame(t *testing.T) {
	connected := make(chan *mushroom.Session, 1)
	_, url := newServer(t, mushroom.ServerOptions{Connect: func(s *mushroom.Session) { connected <- s }})
	address := begin(t, url, "poll")
	s := <-connected
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			_, body := post(t, address, `[[0,null]]`)
			answers <- body
		}()
	}
	require.NoError(t, s.Notify("m", "x"))
	assert.Equal(t, `[[1,0,"m","x"]]`, <-answers)
	assert.Equal(t, `[[1,0,"m","x"]]`, <-answers)
	assert.Equal(t, []int64{0}, s.Unacknowledged())
}

func TestLargeAnswersComeInParts(t *testing.T) {
	connected := make(chan *mushroom.Session, 1)
	_, url := newServer(t, mushroom.ServerOptions{
		Connect: func(s *mushroom.Session) { connected <- s },
		Limits:  mushroom.Limits{MaxBody: 100},
	})
	address := begin(t, url, "poll")
	s := <-connected
	for range 5 {
		require.NoError(t, s.Notify("m", strings.Repeat("x", 30))) // 44 bytes each
	}
	var got []int64
	last := "null"
	for len(got) < 5 {
		_, body := post(t, address, `[[0,`+last+`]]`)
		var list []mushroom.Message
		require.NoError(t, json.Unmarshal([]byte(body), &list))
		require.LessOrEqual(t, len(list), 2)
		for _, m := range list {
			id, _ := m.ID.Int()
			got = append(got, id)
			last = m.ID.String()
		}
	}
	assert.Equal(t, []int64{0, 1, 2, 3, 4}, got)
}

// TestClosedBetweenTwoPolls: the next poll gets what was sent and the end.
func TestClosedBetweenTwoPolls(t *testing.T) {
	connected := make(chan *mushroom.Session, 1)
	_, url := newServer(t, mushroom.ServerOptions{Connect: func(s *mushroom.Session) { connected <- s }})
	address := begin(t, url, "poll")
	s := <-connected
	require.NoError(t, s.Notify("bye", 1))
	require.NoError(t, s.Close())
	eventually(t, func() bool {
		status, _ := post(t, address, `[[1,0,"m"]]`)
		return status == 404
	}, "no messages are taken any more")
	status, body := post(t, address, `[[0,null]]`)
	assert.Equal(t, 200, status)
	assert.Equal(t, `[[1,0,"bye",1],[-1]]`, body)
	<-s.Done()
	status, again := post(t, address, `[[0,null]]`)
	assert.Equal(t, 200, status, "the answer may have been lost")
	assert.Equal(t, body, again)
	status, _ = post(t, address, `[[1,0,"m"]]`)
	assert.Equal(t, 404, status, "it is no poll")
}

// TestLastAnswerIsKeptForAMoment: the answer that tells of the end is given again, to a client that lost it.
func TestLastAnswerIsKeptForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connected := make(chan *mushroom.Session, 1)
		server, path := directly(t, mushroom.ServerOptions{Connect: func(s *mushroom.Session) { connected <- s }})
		s := <-connected
		polled := make(chan string, 1)
		go func() { polled <- direct(t.Context(), server, path, `[[0,null]]`).Body.String() }()
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.Equal(t, `[[-1]]`, <-polled, "a poll that waited")
		<-s.Done()
		start := time.Now()
		for time.Since(start) < 5*time.Second {
			assert.Equal(t, `[[-1]]`, direct(t.Context(), server, path, `[[0,null]]`).Body.String())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.Equal(t, 404, direct(t.Context(), server, path, `[[0,null]]`).Code)
		assert.Equal(t, 404, direct(t.Context(), server, path, `[`).Code)
	})
}

// TestLastAnswerWhileDisconnectRuns: a client that lost it is not sent away meanwhile.
func TestLastAnswerWhileDisconnectRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polls := make(chan string, 1)
		var server *mushroom.Server
		poll := func(s *mushroom.Session) string {
			return direct(context.Background(), server, "/"+s.ID()+"/", `[[0,null]]`).Body.String()
		}
		var err error
		server, err = mushroom.NewServer(&mushroom.ServerOptions{
			Connect: func(s *mushroom.Session) {
				assert.NoError(t, s.Notify("bye", 1))
				assert.NoError(t, s.Close())
				assert.Equal(t, `[[1,0,"bye",1],[-1]]`, poll(s), "before the session is let go of")
			},
			Disconnect: func(s *mushroom.Session) { polls <- poll(s) },
		})
		require.NoError(t, err)
		direct(t.Context(), server, "/", `{"transports":["poll"]}`)
		assert.Equal(t, `[[1,0,"bye",1],[-1]]`, <-polls)
		assert.NoError(t, server.Shutdown(context.Background()))
	})
}

// TestClientLeavesDuringAPoll: its absence counts from then on.
func TestClientLeavesDuringAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, path := directly(t, mushroom.ServerOptions{SessionTimeout: time.Minute, PollTimeout: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		direct(ctx, server, path, `[[0,null]]`)
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		time.Sleep(59 * time.Second)
		assert.Equal(t, 1, server.Len())
		time.Sleep(2 * time.Second)
		assert.Zero(t, server.Len())
	})
}

// rawPost opens a connection and sends the head of a POST.
func rawPost(t *testing.T, address string, length int) net.Conn {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n[", u.Path, u.Host, length)
	require.NoError(t, err)
	return conn
}

func TestSlowBodies(t *testing.T) {
	server, err := mushroom.NewServer(nil)
	require.NoError(t, err)
	mushroom.SetTimes(server, 100*time.Millisecond, time.Second)
	address := begin(t, serve(t, server), "poll")
	slow := rawPost(t, address, 10)
	response, err := http.ReadResponse(bufio.NewReader(slow), nil)
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, 408, response.StatusCode)

	cut := rawPost(t, address, 10)
	require.NoError(t, cut.(*net.TCPConn).CloseWrite())
	response, err = http.ReadResponse(bufio.NewReader(cut), nil)
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, 400, response.StatusCode)

	status, body := post(t, address, "[]")
	assert.Equal(t, 200, status, body)
}

func TestBadPollBodies(t *testing.T) {
	_, url := newTestService(t, nil, mushroom.ServerOptions{PollTimeout: 50 * time.Millisecond, Limits: mushroom.Limits{MaxBody: 500, MaxDepth: 10, MaxMessage: 200}})
	for body, want := range map[string]int{
		`[[1,0,"note",` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `]]`:   200,
		`[[1,0,"note",` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `]]`: 500,
		strings.Repeat("[", 400):                                         500,
		"[" + strings.Repeat(" ", 600) + "]":                             413,
		"[[1,0,\"note\",\"\xff\"]]":                                      500,
		`[[1,0,"note"],[1,1,"note","` + strings.Repeat("x", 200) + `"]]`: 413,
		`[[1,0,"note"],[1,"a","note"]]`:                                  500,
		`[[-1],[-1]]`:                                                    500,
		`[[-1],[2,0,"ping"]]`:                                            500,
		`[[0,"a"]]`:                                                      200, // nothing is there to compare it with
		`[[2,0,"ping"],[3,1,5,1],[4,2,null],[0,9]]`:                      200,
	} {
		status, _ := post(t, begin(t, url, "poll"), body)
		assert.Equal(t, want, status, "%.80s", body)
	}
}

func FuzzPollBody(f *testing.F) {
	for _, body := range []string{
		`[]`, `[[0,null]]`, `[[2,0,"ping"],[0,null]]`, `[[-1]]`, `[[-1],[0,0]]`, `[[1,0,"note",1],[9]]`, `{`, `[[3,0,0]]`,
		`[[1,"a","note"],[1,1.5,"note"]]`, `[[0,1e9]]`,
	} {
		f.Add([]byte(body))
	}
	server, err := mushroom.NewServer(&mushroom.ServerOptions{PollTimeout: time.Millisecond})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(`{"transports":["poll"]}`)))
		var welcome struct{ URL string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &welcome))
		u, err := url.Parse(welcome.URL)
		require.NoError(t, err)
		for range 2 { // the second time all is old
			w = httptest.NewRecorder()
			server.ServeHTTP(w, httptest.NewRequest("POST", u.Path, strings.NewReader(string(body))))
			require.Contains(t, []int{200, 404, 500}, w.Code)
			if w.Code == 200 {
				require.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
			}
		}
		w = httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest("POST", u.Path, strings.NewReader(`[[-1]]`)))
		require.Contains(t, []int{200, 404}, w.Code)
	})
}
