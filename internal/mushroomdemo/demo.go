// Package mushroomdemo is a small chat with a ticker: a page for the browser and the mushroom server
// behind it.
package mushroomdemo

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

//go:embed page
var page embed.FS

// Bounds of the chat: what a page shows at once, and what fits on a line.
const (
	maxHistory = 50  // lines
	maxText    = 500 // characters of a line
	maxName    = 24  // characters
	tickEvery  = time.Second
)

// Line is something said.
type Line struct {
	N    int       `json:"n"` // counts all lines
	From string    `json:"from"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// Demo is an http.Handler: the page at /, its module at /mushroom.js and the server at /rpc/.
type Demo struct {
	server *mushroom.Server
	mux    http.ServeMux
	stop   context.CancelFunc
	ticker sync.WaitGroup

	// mu guards what follows. Nothing is sent under it.
	mu      sync.Mutex
	said    int // lines so far
	history []Line
}

// New starts a demo, which Close ends.
func New(log *slog.Logger) (*Demo, error) {
	d := &Demo{}
	var methods mushroom.Registry
	for name, f := range map[string]mushroom.HandlerFunc{
		"ping": func(context.Context, *mushroom.Request) (any, error) { return "pong", nil },
		"join": d.join,
		"say":  d.say,
	} {
		if err := methods.Register(name, f); err != nil {
			return nil, err
		}
	}
	var err error
	d.server, err = mushroom.NewServer(&mushroom.ServerOptions{
		Path:           "/rpc/",
		Dispatcher:     &methods,
		Disconnect:     func(*mushroom.Session) { d.countPeople() },
		SessionTimeout: 60 * time.Second,
		Log:            log,
	})
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	d.mux.Handle("/rpc/", d.server)
	d.mux.Handle("/mushroom.js", http.FileServerFS(mushroom.Web()))
	d.mux.Handle("/", http.FileServerFS(files))
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.ticker.Go(func() { d.tick(ctx) })
	return d, nil
}

// ServeHTTP serves the page and its sessions.
func (d *Demo) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.mux.ServeHTTP(w, r) }

// Close ends the ticker and all sessions, within the context's time.
func (d *Demo) Close(ctx context.Context) error {
	d.stop()
	d.ticker.Wait()
	return d.server.Shutdown(ctx)
}

// tick notifies everybody of a number that moves, until the context ends.
func (d *Demo) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		d.notify("tick", map[string]any{"n": n, "value": 50 + 30*math.Sin(float64(n)/7) + 10*math.Sin(float64(n)/2)})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// notify tells everybody. Whoever cannot be told is on the way out.
func (d *Demo) notify(method string, data any) { _, _ = d.server.Notify(method, data) }

func (d *Demo) countPeople() {
	people := 0
	for s := range d.server.Sessions() {
		if s.Value() != nil {
			people++
		}
	}
	d.notify("people", people)
}

// join names the session and answers what was said before.
func (d *Demo) join(_ context.Context, r *mushroom.Request) (any, error) {
	name, err := text(r, maxName)
	if err != nil {
		return nil, err
	}
	r.Session.SetValue(name)
	d.countPeople()
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Line{}, d.history...), nil
}

// say tells everybody a line.
func (d *Demo) say(_ context.Context, r *mushroom.Request) (any, error) {
	said, err := text(r, maxText)
	if err != nil {
		return nil, err
	}
	name, ok := r.Session.Value().(string)
	if !ok {
		return nil, &mushroom.RPCError{Data: "join first"}
	}
	line := Line{From: name, Text: said, At: time.Now().UTC()}
	d.mu.Lock()
	d.said++
	line.N = d.said
	d.history = append(d.history, line)
	if n := len(d.history); n > maxHistory {
		d.history = slices.Delete(d.history, 0, n-maxHistory)
	}
	d.mu.Unlock()
	d.notify("said", line)
	return nil, nil
}

// text is a request's data as a line of 1 to most characters.
func text(r *mushroom.Request, most int) (string, error) {
	var s string
	if err := r.Decode(&s); err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	if s == "" || utf8.RuneCountInString(s) > most {
		return "", &mushroom.RPCError{Data: "too long or empty"}
	}
	return s, nil
}
