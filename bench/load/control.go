package load

import (
	"encoding/json"
	"errors"
	"io"
)

// The two processes of a measurement talk over a pair of pipes of their own, in JSON lines: the calling end asks, the
// answering end replies with its usage.
type order string

const (
	orderUsage order = "usage" // tell the usage
	orderStart order = "start" // call as well
)

// Control is the calling end's way to ask.
type Control struct {
	enc *json.Encoder
	dec *json.Decoder
}

// NewControl returns a Control over a pair of pipe ends.
func NewControl(r io.Reader, w io.Writer) *Control {
	return &Control{json.NewEncoder(w), json.NewDecoder(r)}
}

func (c *Control) ask(o order) (Usage, error) {
	var u Usage
	if err := c.enc.Encode(o); err != nil {
		return u, err
	}
	err := c.dec.Decode(&u)
	if err == nil && u.Err != "" {
		err = errors.New("the answering end: " + u.Err)
	}
	return u, err
}

// Answer does what the calling end asks until its pipe ends. start starts this end's callers.
func Answer(r io.Reader, w io.Writer, start func() *Load) error {
	dec, enc := json.NewDecoder(r), json.NewEncoder(w)
	var l *Load
	for {
		var o order
		if err := dec.Decode(&o); err != nil {
			return nil // the calling end has gone
		}
		if o == orderStart && l == nil {
			l = start()
		}
		u, err := ReadUsage()
		if l != nil {
			u.Calls = l.Calls()
			err = errors.Join(err, l.Err())
		}
		if err != nil {
			u.Err = err.Error()
		}
		if err := enc.Encode(u); err != nil {
			return nil
		}
	}
}
