package links

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The traces are what the original core did with the same steps. Only lines of one kind have an order among themselves.

// mended are the traces that differ on purpose, see the package comment.
var mended = map[string]string{
	"duplicate 0": `
   service(g,m)
   << #0 termination=RECEPTION_FAILURE
   srv outcome RECEPTION_FAILURE`,
	"duplicate of a held one": `
   service(g,m)
   << #0 termination=RECEPTION_FAILURE
   srv outcome RECEPTION_FAILURE`,
	"ticket after completion": `
   service(g,m)
   srv.advance im=None p=None c=(None, None, None) a=None
   << #0 termination=RECEPTION_FAILURE
   srv outcome RECEPTION_FAILURE`,
	"payload, completion and allowance at once while one is held back": `
   >> #0 group=g.G method=M subscription=FULL timeout=100 protocol=CALL_OPTION
   >> #1 payload=1
   srv.advance im=None p=1 c=None a=None
   >> #2 allowance=1
   srv.advance im=None p=None c=None a=1`,
}

// script is one run with two ends, or with a recorder in the place of the invoker.
type script struct {
	t        *testing.T
	mu       sync.Mutex // guards lines
	lines    map[string][]string
	cliEnd   *End
	srvEnd   *End
	cli, srv *Operation
	// onService and onStep are what the service's application does.
	onService func(op *Operation) error
	onStep    func(op *Operation, a Advance) error
}

func (s *script) log(kind, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[kind] = append(s.lines[kind], kind+fmt.Sprintf(format, args...))
}

func (s *script) service(op *Operation) error {
	s.srv = op
	if s.onService != nil {
		if err := s.onService(op); err != nil {
			return err
		}
	}
	op.OnEnd(func(o Outcome) error { s.log("srv outcome ", "%s", renderOutcome(o)); return nil })
	op.Attend(func(a Advance) error {
		s.log("srv.advance ", "%s", renderAdvance(a))
		if s.onStep != nil {
			return s.onStep(op, a)
		}
		return nil
	})
	return nil
}

func (s *script) operate(o Opening) {
	s.t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 100 * time.Second
	}
	o.Group, o.Method, o.Protocol = "g.G", "M", &Protocol{Kind: CallOption}
	op, err := s.cliEnd.Operate(s.t.Context(), o)
	require.NoError(s.t, err)
	op.OnEnd(func(o Outcome) error { s.log("cli outcome ", "%s", renderOutcome(o)); return nil })
	op.Attend(func(a Advance) error { s.log("cli.advance ", "%s", renderAdvance(a)); return nil })
	s.cli = op
}

func (s *script) inject(t Ticket) {
	t.ID = 1
	if t.Seq == 0 {
		t.Group, t.Method, t.Subscription = "g", "m", SubscriptionFull
	}
	s.srvEnd.Accept(&t)
}

func text(s string) *Payload  { return NewPayload([]byte(s), nil) }
func named(s string) Metadata { return Metadata{{Key: s}} }
func pointer[T any](v T) *T   { return &v }
func closingOf(m string, c uint32, s string) *Closing {
	closing := &Closing{Code: &c, Message: &s}
	if m != "" {
		closing.Terminal = named(m)
	}
	return closing
}

func optional[T any](p *T) string {
	if p == nil {
		return "None"
	}
	return fmt.Sprint(*p)
}

func renderMetadata(m Metadata) string {
	if m == nil {
		return "None"
	}
	return m[0].Key
}

func renderOutcome(o Outcome) string {
	return fmt.Sprintf("%s code=%s details=%s", o.Kind, optional(o.Code), optional(o.Message))
}

func renderAdvance(a Advance) string {
	p, c, allowance := "None", "None", "None"
	if a.Payload != nil {
		p = string(a.Payload.Bytes())
	}
	if a.Completion != nil {
		quote := func(s string) string {
			if s == "None" {
				return s
			}
			return "'" + s + "'"
		}
		c = fmt.Sprintf("(%s, %s, %s)", quote(renderMetadata(a.Completion.Terminal)), optional(a.Completion.Code), quote(optional(a.Completion.Message)))
	}
	if a.Allowance > 0 {
		allowance = fmt.Sprint(a.Allowance)
	}
	return fmt.Sprintf("im=%s p=%s c=%s a=%s", renderMetadata(a.Initial), p, c, allowance)
}

func renderTicket(t *Ticket) string {
	parts := []string{fmt.Sprintf("#%d", t.Seq)}
	add := func(present bool, format string, args ...any) {
		if present {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(t.Group != "", "group=%s", t.Group)
	add(t.Method != "", "method=%s", t.Method)
	add(t.Subscription != 0, "subscription=%s", t.Subscription)
	add(t.Timeout != 0, "timeout=%v", t.Timeout.Seconds())
	add(t.Allowance != 0, "allowance=%d", t.Allowance)
	add(t.Initial != nil, "initial_metadata=%s", renderMetadata(t.Initial))
	if t.Payload != nil {
		parts = append(parts, "payload="+string(t.Payload.Bytes()))
	}
	add(t.Terminal != nil, "terminal_metadata=%s", renderMetadata(t.Terminal))
	add(t.Code != nil, "code=%s", optional(t.Code))
	add(t.Message != nil, "message=%s", optional(t.Message))
	add(t.Termination != 0, "termination=%s", t.Termination)
	if t.Protocol != nil {
		parts = append(parts, "protocol="+t.Protocol.Kind.String())
	}
	return strings.Join(parts, " ")
}

func (s *script) ok(err error) {
	s.t.Helper()
	require.NoError(s.t, err)
}

func (s *script) send(payloads ...string) {
	s.t.Helper()
	for _, p := range payloads {
		s.ok(s.cli.Advance(Advance{Payload: text(p)}))
	}
}

var lineKinds = []string{">> ", "<< ", "srv.advance ", "cli.advance ", "srv outcome ", "cli outcome ", "service("}

// byKind sorts the lines of a trace by kind, keeping their order.
func byKind(trace string) map[string][]string {
	lines := make(map[string][]string)
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		for _, kind := range lineKinds {
			if strings.HasPrefix(line, kind) {
				lines[kind] = append(lines[kind], strings.TrimSuffix(line, " code=None details=None"))
			}
		}
	}
	return lines
}

func TestTracesOfTheOriginal(t *testing.T) {
	data, err := os.ReadFile("testdata/core_traces.txt")
	require.NoError(t, err)
	sections := strings.Split("\n"+string(data), "\n== ")[1:]
	scripts := allScripts()
	require.Len(t, sections, len(scripts))
	for _, section := range sections {
		name, trace, _ := strings.Cut(section, "\n")
		if better, ok := mended[name]; ok {
			trace = better
		}
		run, ok := scripts[name]
		require.True(t, ok, name)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runTrace(t, run, byKind(trace), strings.Contains(trace, "service(")) })
		})
	}
}

func runTrace(t *testing.T, run func(*script), want map[string][]string, injected bool) {
	s := &script{t: t, lines: make(map[string][]string)}
	synchronous := func(f func()) { f() }
	s.srvEnd = NewEnd(ServicerFunc(func(_ context.Context, op *Operation) error {
		if injected {
			s.log("service(", "%s,%s)", op.Group(), op.Method())
		}
		return s.service(op)
	}), &EndOptions{Run: synchronous})
	s.cliEnd = NewEnd(nil, nil)
	a, b := Pipe()
	tapped := Tap(a, func(sent bool, ticket *Ticket) {
		if sent {
			s.log(">> ", "%s", renderTicket(ticket))
		} else {
			s.log("<< ", "%s", renderTicket(ticket))
		}
	})
	require.NoError(t, s.srvEnd.Start())
	require.NoError(t, s.cliEnd.Start())
	Join(s.cliEnd, tapped)
	Join(s.srvEnd, b)
	run(s)
	synctest.Wait()
	got := make(map[string][]string)
	for kind, lines := range s.lines {
		for _, line := range lines {
			got[kind] = append(got[kind], strings.TrimSuffix(line, " code=None details=None"))
		}
	}
	compareTraces(t, want, got)
	<-s.cliEnd.Stop(0)
	<-s.srvEnd.Stop(0)
}

// compareTraces compares kind by kind. At expiry either side may be first, and the other's ticket then finds nobody.
func compareTraces(t *testing.T, want, got map[string][]string) {
	t.Helper()
	expirations := func(lines map[string][]string) (n int) {
		for _, kind := range []string{">> ", "<< "} {
			all := len(lines[kind])
			lines[kind] = slices.DeleteFunc(lines[kind], func(line string) bool { return strings.HasSuffix(line, "=EXPIRATION") })
			n += all - len(lines[kind])
		}
		return n
	}
	require.Equal(t, expirations(want) > 0, expirations(got) > 0, "a side says that it expired")
	for _, kind := range lineKinds {
		require.Equal(t, strings.Join(want[kind], "\n"), strings.Join(got[kind], "\n"), "lines of kind %q", kind)
	}
}
