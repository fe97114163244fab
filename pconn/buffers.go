package pconn

// bufferList holds the buffers of large payloads of marked handlers' requests for their next use. An
// answer may be sent from such a buffer, which comes back when it has left. Guarded by Conn.mu.
type bufferList struct {
	free  [][]byte
	bytes int
}

// keepBuffers is how many bytes of payload buffers a connection keeps.
const keepBuffers = 4 << 20

// get returns a buffer of n bytes, or nil if there is none that fits.
func (l *bufferList) get(n int) []byte {
	for i := len(l.free) - 1; i >= 0; i-- {
		b := l.free[i]
		if cap(b) < n || cap(b) > 4*n {
			continue
		}
		last := len(l.free) - 1
		l.free[i], l.free[last] = l.free[last], nil
		l.free = l.free[:last]
		l.bytes -= cap(b)
		return b[:n]
	}
	return nil
}

// put gives a buffer back.
func (l *bufferList) put(b []byte) {
	if l.bytes+cap(b) > keepBuffers {
		// The oldest sizes make room for what is in use now.
		clear(l.free)
		l.free, l.bytes = l.free[:0], 0
		if cap(b) > keepBuffers {
			return
		}
	}
	l.free = append(l.free, b)
	l.bytes += cap(b)
}
