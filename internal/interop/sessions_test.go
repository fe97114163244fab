//go:build unix

package interop

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// The recorded sessions of both releases, replayed: in virtual time with the recording's own waits, and
// over pipes of the system, where the connection has to do the very same.
func TestRecordedSessions(t *testing.T) { replaySessions(t, pconn.ExtensionsLazy) }

// They go the same way for a connection that offers extensions, and gets no answer to that.
func TestRecordedSessionsWithOffer(t *testing.T) { replaySessions(t, pconn.ExtensionsOffered) }

func replaySessions(t *testing.T, ext pconn.Extensions) {
	var mu sync.Mutex // guards found
	var found []difference
	rules := readRules(t)
	t.Run("replay", func(t *testing.T) {
		for release, byName := range sessions(t) {
			for name, rec := range byName {
				session := release + "/" + name
				t.Run(session, func(t *testing.T) {
					t.Parallel()
					var ds []difference
					if betweenLibraries(name) {
						ds = replayBetween(t, session, rec)
					} else {
						ds = replaySession(t, session, rec, rules, ext)
					}
					mu.Lock()
					defer mu.Unlock()
					found = append(found, ds...)
				})
			}
		}
	})
	if !t.Failed() {
		judge(t, rules, found)
	}
}

func replaySession(t *testing.T, session string, rec *recording, rules []rule, ext pconn.Extensions) []difference {
	listed := func(d difference) bool {
		d.Session = session
		return slices.ContainsFunc(rules, func(r rule) bool { return r.lists(d) })
	}
	var virtual *replay
	synctest.Test(t, func(t *testing.T) {
		virtual = newReplay(t, rec, memoryWire(), nil, listed)
		virtual.ext = ext
		virtual.run()
	})
	piped := newReplay(t, rec, pipeWire(t), virtual, listed)
	piped.ext = ext
	piped.run()
	for i := range virtual.steps {
		v, p := &virtual.steps[i], &piped.steps[i]
		if i < len(rec.Events) && rec.Events[i].Op == "fds" {
			v.outcome = p.outcome
		}
		require.ElementsMatch(t, sentIn(v), sentIn(p), "event %d: in virtual time, and over pipes", i)
		require.Equal(t, v.outcome, p.outcome, "event %d: in virtual time, and over pipes", i)
	}
	return compare(session, rec.Events, virtual.recorded, virtual.steps)
}

// sentIn are the packets of a step. The end of the stream comes over pipes only when the application closes its own
// descriptor.
func sentIn(s *step) []string {
	return slices.DeleteFunc(slices.Clone(s.packets), func(token string) bool { return token == endToken })
}

// Responses that nobody asked for do no harm once the peer has shown that it speaks packets.
func TestUnsolicitedResponsesLater(t *testing.T) {
	rules := readRules(t)
	for release, byName := range sessions(t) {
		t.Run(release, func(t *testing.T) {
			exchange := byName["raw-closes-eof"].Events[1:3]
			rec := *byName["unsolicited"]
			rec.Events = slices.Insert(slices.Clone(rec.Events), 1, exchange...)
			for _, d := range replaySession(t, release+"/unsolicited-later", &rec, rules, pconn.ExtensionsLazy) {
				require.True(t, slices.ContainsFunc(rules, func(r rule) bool { return r.lists(d) }), "%v", d)
			}
		})
	}
}
