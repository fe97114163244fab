package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

const (
	// MaxSize is the most children that a Pool may have. Each costs some descriptors and a process.
	MaxSize = 1024

	// DefaultMinDelay and DefaultMaxDelay are the pauses before a restart: the first is short for a
	// caller that waits, and long beside what a start costs; the second leaves the machine alone.
	DefaultMinDelay = 50 * time.Millisecond
	DefaultMaxDelay = 30 * time.Second

	// DefaultFailures is how many children may fail in a row before calls are told so. With the
	// default pauses that is within a second.
	DefaultFailures = 3

	// DefaultRepeats is how often a call is repeated that does no harm twice. A call that makes every
	// child end that gets it has ended so many and one.
	DefaultRepeats = 5

	// DefaultStartTimeout bounds a start, of which a handshake may be a part.
	DefaultStartTimeout = 30 * time.Second

	// DefaultHealthTimeout is how long a child may take to give a sign of life.
	DefaultHealthTimeout = 10 * time.Second

	// provenAfter is how long a child lives that has proven itself without having been asked anything.
	provenAfter = 10 * time.Second
)

// Options are the settings of a Pool. The zero value, or nil, is the default of all.
type Options struct {
	// Start are the settings of each child. Start.Conn.Logger is told of ends and restarts.
	Start endpoint.StartOptions
	// Size is how many children there are, by default 1.
	Size int
	// MinDelay and MaxDelay bound the pauses before a restart, by default DefaultMinDelay and
	// DefaultMaxDelay.
	MinDelay, MaxDelay time.Duration
	// Failures is how many children may end in a row, without having answered, or fail to start, before calls
	// fail rather than wait, by default DefaultFailures.
	Failures int
	// Repeats is how often a call with Request.Idempotent is repeated, by default DefaultRepeats. Negative
	// is never.
	Repeats int
	// StartTimeout bounds a restart, by default DefaultStartTimeout.
	StartTimeout time.Duration
	// HealthEvery is how often each child is asked for a sign of life; 0 is never. One that gives none within
	// HealthTimeout, by default DefaultHealthTimeout, is killed and followed by another.
	HealthEvery, HealthTimeout time.Duration
	// Healthy is how it is asked, by default by a ping, which a peer without extensions is not. An
	// error says that it is not well. It is called by one goroutine for each child.
	Healthy func(ctx context.Context, c *endpoint.Child) error
}

func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"MinDelay", &v.MinDelay, DefaultMinDelay},
		{"MaxDelay", &v.MaxDelay, max(DefaultMaxDelay, v.MinDelay)},
		{"StartTimeout", &v.StartTimeout, DefaultStartTimeout},
		{"HealthEvery", &v.HealthEvery, 0},
		{"HealthTimeout", &v.HealthTimeout, DefaultHealthTimeout},
	} {
		if *d.value < 0 {
			return v, fmt.Errorf("pool: Options.%s %v is negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.unset
		}
	}
	switch {
	case v.Size < 0 || v.Size > MaxSize:
		return v, fmt.Errorf("pool: Options.Size %d is not within 0 and %d", v.Size, MaxSize)
	case v.Failures < 0:
		return v, fmt.Errorf("pool: Options.Failures %d is negative", v.Failures)
	case v.MaxDelay < v.MinDelay:
		return v, fmt.Errorf("pool: Options.MaxDelay %v is less than MinDelay %v", v.MaxDelay, v.MinDelay)
	}
	for _, n := range []struct {
		value *int
		unset int
	}{{&v.Size, 1}, {&v.Failures, DefaultFailures}, {&v.Repeats, DefaultRepeats}} {
		if *n.value == 0 {
			*n.value = n.unset
		}
	}
	if v.Start.Conn.Codec == nil {
		v.Start.Conn.Codec = pconn.JSON
	}
	return v, nil
}
