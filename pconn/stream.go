package pconn

import "github.com/packetstream/packetstream/packet"

// streamFrame takes one frame about a stream, in order. Its error ends the connection.
func (c *Conn) streamFrame(h *packet.Header) error {
	c.counters.UnknownFrames.Add(1)
	return c.skipPayload(h)
}
