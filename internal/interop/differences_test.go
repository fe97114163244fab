package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const differencesFile = "../../testdata/packetstream/differences.json"

// difference is one thing that is not as recorded. What is "not sent" or "sent besides" (a packet that only one of
// the two sent), "sent earlier" or "sent later" (than at the recording's event), or an operation whose
// outcome differs, or a count.
type difference struct {
	Session, What, Theirs, Ours string
	at                          int // the event, for people
}

func (d difference) String() string {
	return fmt.Sprintf("%s, event %d: %s: theirs %q, ours %q", d.Session, d.at, d.What, d.Theirs, d.Ours)
}

// compare finds all differences of a session.
func compare(session string, events []event, theirs, ours []step) (found []difference) {
	add := func(at int, what, theirs, ours string) {
		found = append(found, difference{session, what, theirs, ours, at})
	}
	places := placesOf(ours)
	for i, s := range theirs {
		for _, token := range s.packets {
			at := places[token]
			switch {
			case len(at) == 0:
				add(i, "not sent", token, "")
				continue
			case at[0] < i:
				add(i, "sent earlier", token, token)
			case at[0] > i:
				add(i, "sent later", token, token)
			}
			places[token] = at[1:]
		}
	}
	for token, at := range places {
		for _, i := range at {
			add(i, "sent besides", "", token)
		}
	}
	for i, s := range theirs {
		if s.outcome != ours[i].outcome {
			what := "notified"
			if i < len(events) {
				what = events[i].Op
			}
			add(i, what, s.outcome, ours[i].outcome)
		}
		for name, value := range s.fields {
			if ours[i].fields[name] != value {
				add(i, name, value, ours[i].fields[name])
			}
		}
	}
	return found
}

// placesOf says at which steps each packet was sent.
func placesOf(steps []step) map[string][]int {
	places := make(map[string][]int)
	for i, s := range steps {
		for _, token := range s.packets {
			places[token] = append(places[token], i)
		}
	}
	return places
}

// rule says that a difference is meant, and why.
type rule struct {
	Reason string
	In     []string // sessions that have it: release/name, * for any; each pattern must fit, */ in both releases
	Cases  []struct {
		What, Theirs, Ours string // regular expressions for the whole
	}
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	b, err := os.ReadFile(differencesFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &rules))
	for i := range rules {
		r := &rules[i]
		require.NotEmpty(t, r.Reason)
		require.NotEmpty(t, r.In)
		require.NotEmpty(t, r.Cases)
		var in []string
		for _, p := range r.In {
			if name, both := strings.CutPrefix(p, "*/"); both {
				in = append(in, "20240412/"+name, "20240630/"+name)
			} else {
				in = append(in, p)
			}
		}
		r.In = in
	}
	return rules
}

func whole(pattern, text string) bool {
	return regexp.MustCompile(`(?s)^(?:` + pattern + `)$`).MatchString(text)
}

// covers says which of the rule's sessions and cases the difference is one of, -1 for none.
func (r *rule) covers(d difference) (in, which int) {
	in = slices.IndexFunc(r.In, func(p string) bool {
		ok, err := path.Match(p, d.Session)
		return err == nil && ok
	})
	for i, c := range r.Cases {
		if whole(c.What, d.What) && whole(c.Theirs, d.Theirs) && whole(c.Ours, d.Ours) {
			return in, i
		}
	}
	return in, -1
}

func (r *rule) lists(d difference) bool {
	in, which := r.covers(d)
	return in >= 0 && which >= 0
}

// judge fails the test for each difference that is not listed once, and for whatever is listed without cause.
func judge(t *testing.T, rules []rule, found []difference) {
	t.Helper()
	sessionUsed, caseUsed := make(map[string]bool), make(map[string]bool)
	for _, d := range found {
		var by []string
		for i := range rules {
			in, which := rules[i].covers(d)
			if in < 0 || which < 0 {
				continue
			}
			by = append(by, fmt.Sprint("rule ", i+1))
			sessionUsed[fmt.Sprint(i, " ", in)], caseUsed[fmt.Sprint(i, " ", which)] = true, true
		}
		switch len(by) {
		case 0:
			t.Errorf("not listed: %v", d)
		case 1:
		default:
			t.Errorf("listed more than once, by %s: %v", strings.Join(by, ", "), d)
		}
	}
	for i, r := range rules {
		for j, p := range r.In {
			if !sessionUsed[fmt.Sprint(i, " ", j)] {
				t.Errorf("rule %d (%s): nothing of it occurs in %s any more", i+1, r.Reason, p)
			}
		}
		for j, c := range r.Cases {
			if !caseUsed[fmt.Sprint(i, " ", j)] {
				t.Errorf("rule %d (%s): %q does not occur any more", i+1, r.Reason, c)
			}
		}
	}
}
