package pconn

import "fmt"

// StreamLimits bound a connection's streams. The zero value of each is its documented default.
type StreamLimits struct {
	// MaxOpen is how many streams the peer may have open at a time, by default DefaultMaxStreams. The
	// peer is told, and waits; one that goes on regardless loses the connection. It is also how many
	// handlers of streams are at work at a time.
	MaxOpen int

	// MaxBacklog is how many streams of the peer may wait to be accepted, or for a handler's place, by
	// default DefaultStreamBacklog. More are refused.
	MaxBacklog int

	// Window is how many bytes a stream's sender may be ahead of its reader at first, by default
	// DefaultStreamWindow. It doubles, up to MaxWindow, by default DefaultMaxStreamWindow, whenever a whole
	// window was read within two round trips while no more than a quarter of it waited, as far as Memory
	// allows: so a fast reader at the end of a long link gets what the link carries, and a slow one, or
	// one less than a millisecond away, does not take memory for nothing. The connection measures the round trip by a ping when a
	// stream first needs it, and every 10 s at most while windows may grow.
	Window, MaxWindow int64

	// Memory is how many bytes the windows of all streams may have together beyond those that the peer's
	// streams begin with, by default DefaultStreamMemory. A window that grows takes half of what is left at
	// most. The last quarter is for streams that this end opens; when they need it, windows that have grown shrink.
	Memory int64

	// Spill is how many bytes of each stream, beyond its window, may wait for the reader on disk: in a file in SpillDir, by
	// default os.TempDir, that has no name as far as the system allows that. So a sender need not wait for a reader
	// that is slow or away for a while. 0, the default, is none. Where the disk fails, which a full one does, the
	// stream is reset, and its reader gets a *SpillError. Bytes go to disk 32 KiB at a time, which is the least value other
	// than 0. The file is there from when more than half of a window waits until
	// the stream was read to its end, closed or reset: also when the connection has ended meanwhile, after which who does
	// that waits until the file is closed. What came on a stream that waits to be accepted can be read after that end as well:
	// it keeps its file until it is accepted or its Listener closed.
	Spill    int64
	SpillDir string
}

// withDefaults returns a copy in which every limit has its value.
func (l StreamLimits) withDefaults() (StreamLimits, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxOpen", int64(l.MaxOpen)}, {"MaxBacklog", int64(l.MaxBacklog)}, {"Window", l.Window},
		{"MaxWindow", l.MaxWindow}, {"Memory", l.Memory}, {"Spill", l.Spill},
	} {
		if f.value < 0 || f.value > maxCredit {
			return l, fmt.Errorf("pconn: Options.Streams.%s %d is not within 0 and %d", f.name, f.value, int64(maxCredit))
		}
	}
	if l.Spill > 0 && l.Spill < maxChunk {
		return l, fmt.Errorf("pconn: Options.Streams.Spill %d is less than %d bytes, the least that goes to disk", l.Spill, maxChunk)
	}
	setDefault(&l.MaxOpen, DefaultMaxStreams)
	setDefault(&l.MaxBacklog, DefaultStreamBacklog)
	setDefault(&l.Window, DefaultStreamWindow)
	setDefault(&l.MaxWindow, max(DefaultMaxStreamWindow, l.Window))
	setDefault(&l.Memory, DefaultStreamMemory)
	if l.MaxWindow < l.Window {
		return l, fmt.Errorf("pconn: Options.Streams.MaxWindow %d is less than Window, %d", l.MaxWindow, l.Window)
	}
	return l, nil
}
