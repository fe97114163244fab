package mushroom_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// lossyProxy forwards HTTP exchanges and harms most of them: it cuts them before the server sees them,
// after it has answered or in the middle of the answer, delays them, and sends second copies, some of
// them so late that others have overtaken them.
type lossyProxy struct {
	target string
	host   string      // its own address
	calm   atomic.Bool // harms nothing any more
	late   sync.WaitGroup
	harm   [6]atomic.Int64

	mu     sync.Mutex // guards random
	random *rand.Rand
}

const (
	cutBefore = iota
	cutAfter
	cutInside
	duplicated
	overtaken
	delayed
)

func (p *lossyProxy) draw(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.IntN(n)
}

func (p *lossyProxy) pause(most time.Duration) {
	timer := time.NewTimer(time.Duration(p.draw(int(most))))
	<-timer.C
}

func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	harm := p.draw(10)
	if p.calm.Load() {
		harm = delayed + 1
	}
	if harm <= delayed {
		p.harm[harm].Add(1)
	}
	switch harm {
	case cutBefore:
		panic(http.ErrAbortHandler)
	case overtaken:
		p.forwardLate(r.URL.Path, body)
		panic(http.ErrAbortHandler)
	case duplicated:
		p.forwardLate(r.URL.Path, body)
	case delayed:
		p.pause(60 * time.Millisecond)
	}
	status, header, answer := p.forward(r.Context(), r.URL.Path, body)
	if status == 0 || harm == cutAfter {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", header.Get("Content-Type"))
	if harm == cutInside {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		answer = answer[:len(answer)/2]
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
	if harm == cutInside {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func (p *lossyProxy) forwardLate(path string, body []byte) {
	p.late.Go(func() {
		p.pause(200 * time.Millisecond)
		p.forward(context.Background(), path, body)
	})
}

func (p *lossyProxy) forward(ctx context.Context, path string, body []byte) (int, http.Header, []byte) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil
	}
	r.Host = p.host // so that the session's address leads here, as behind any proxy
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil // the client went away
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, nil
	}
	return response.StatusCode, response.Header, answer
}

// recorder is a dispatcher that keeps what it was notified of and answers requests with their data.
type recorder struct {
	mu  sync.Mutex // guards got
	got []int
}

func (c *recorder) Dispatch(_ context.Context, r *mushroom.Request) (any, error) {
	var n int
	if err := r.Decode(&n); err != nil {
		return nil, err
	}
	if r.Kind == mushroom.KindRequest {
		return n, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, n)
	return nil, nil
}

func (c *recorder) all() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

// talk notifies the peer of 0, 1, 2 ... in bursts until the time is up, calls it now and then, and waits
// until everything has arrived.
func talk(t *testing.T, s *mushroom.Session, seed uint64, until <-chan struct{}, calm func()) (sent int) {
	random := rand.New(rand.NewPCG(seed, 1))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var calls sync.WaitGroup
	defer calls.Wait()
	pause := time.NewTicker(3 * time.Millisecond)
	defer pause.Stop()
	for running := true; running; {
		select {
		case <-until:
			running = false
		case <-pause.C:
		}
		for range random.IntN(8) {
			if !assert.NoError(t, s.Notify("n", sent)) {
				return sent
			}
			sent++
		}
		if n := random.IntN(1000); n < 50 {
			calls.Go(func() {
				got, err := mushroom.Call[int](ctx, s, "echo", n)
				assert.NoError(t, err)
				assert.Equal(t, n, got)
			})
		}
		if len(s.Unacknowledged()) > 4000 {
			assert.NoError(t, s.Flush(ctx))
		}
	}
	calm()
	assert.NoError(t, s.Flush(ctx))
	return sent
}

// TestLossyProxy holds the poll transport to its promise: whatever happens to exchanges, every
// notification arrives exactly once and in order, both ways.
func TestLossyProxy(t *testing.T) {
	duration := 10 * time.Second
	if os.Getenv("PACKETSTREAM_LONG") != "" {
		duration = time.Minute
	}
	throughLossyProxy(t, duration)
}

func throughLossyProxy(t *testing.T, duration time.Duration) {
	t.Helper()
	atServer, atClient := &recorder{}, &recorder{}
	sessions := make(chan *mushroom.Session, 100)
	_, target := newServer(t, mushroom.ServerOptions{
		Dispatcher: atServer, PollTimeout: 500 * time.Millisecond,
		Connect: func(s *mushroom.Session) { sessions <- s },
	})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	proxy := &lossyProxy{target: target[:len(target)-1], random: rand.New(rand.NewPCG(seed, 2))}
	front := httptest.NewServer(proxy)
	proxy.host = front.Listener.Addr().String()
	t.Cleanup(func() {
		front.Close()
		proxy.late.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	// The bootstrap is not repeated, so the harm begins after it.
	proxy.calm.Store(true)
	client := dial(t, front.URL, &mushroom.DialOptions{
		Transports: []string{"poll"}, Dispatcher: atClient,
		PollWait: 2 * time.Second, PostTimeout: time.Second,
	})
	proxy.calm.Store(false)
	server := <-sessions
	until := make(chan struct{})
	timer := time.AfterFunc(duration, func() { close(until) })
	defer timer.Stop()
	calm := func() { proxy.calm.Store(true) }
	var toServer, toClient int
	var both sync.WaitGroup
	both.Go(func() { toServer = talk(t, client, seed, until, calm) })
	both.Go(func() { toClient = talk(t, server, seed+1, until, calm) })
	both.Wait()

	for _, end := range []struct {
		name string
		got  *recorder
		sent int
	}{{"server", atServer, toServer}, {"client", atClient, toClient}} {
		require.Greater(t, end.sent, 1000)
		eventually(t, func() bool { return len(end.got.all()) >= end.sent }, end.name)
		for i, n := range end.got.all() {
			require.Equal(t, i, n, "at the %s", end.name)
		}
		require.Len(t, end.got.all(), end.sent)
	}
	for harm := range proxy.harm {
		assert.Positive(t, proxy.harm[harm].Load(), "kind of harm %d", harm)
	}
	t.Logf("%d notifications to the server, %d to the client, harmed exchanges by kind: %v", toServer, toClient, harmed(proxy))
}

func harmed(p *lossyProxy) (counts []int64) {
	for i := range p.harm {
		counts = append(counts, p.harm[i].Load())
	}
	return counts
}
