package endpoint

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// params are the settings that stand behind the last # of an endpoint's string, written as a URL's query.
type params map[string]string

// cutParams splits what follows a scheme into what it names and its parameters. A name that has a # of its own is
// followed by another.
func cutParams(rest string, known ...string) (name string, p params, err error) {
	i := strings.LastIndexByte(rest, '#')
	if i < 0 {
		return rest, nil, nil
	}
	p, err = parseParams(rest[i+1:], known...)
	return rest[:i], p, err
}

func parseParams(text string, known ...string) (params, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, err
	}
	p := make(params, len(values))
	for key, all := range values {
		switch {
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("unknown parameter %q; there are %s", key, strings.Join(known, " "))
		case len(all) > 1:
			return nil, fmt.Errorf("parameter %q is given %d times", key, len(all))
		}
		p[key] = all[0]
	}
	return p, nil
}

// join returns the string that cutParams splits into name and p.
func (p params) join(name string) string {
	text := p.encode()
	if text == "" && !strings.Contains(name, "#") {
		return name
	}
	return name + "#" + text
}

// encode writes the parameters that are not empty, in order.
func (p params) encode() string {
	values := make(url.Values, len(p))
	for key, value := range p {
		if value != "" {
			values.Set(key, value)
		}
	}
	// Both are good in a query as they are.
	return strings.NewReplacer("%2F", "/", "%2C", ",").Replace(values.Encode())
}
