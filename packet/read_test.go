package packet_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// source is a packet.Source over bytes that arrive step by step. Its calls are recorded, so that a
// test can tell what a blocking source would have waited for and what memory would have been taken.
type source struct {
	data    []byte
	step    int   // bytes that arrive at a time
	arrived int   // bytes of data that have arrived
	err     error // after data; io.EOF if nil
	taken   []int // sizes asked of Take
}

func (s *source) end() error {
	if s.err != nil {
		return s.err
	}
	return io.EOF
}

func (s *source) Peek(n int) ([]byte, error) {
	for s.arrived < min(n, len(s.data)) {
		s.arrived = min(s.arrived+s.step, len(s.data))
	}
	if s.arrived < n {
		return s.data[:s.arrived], s.end()
	}
	return s.data[:s.arrived], nil
}

func (s *source) Skip(n int64) error {
	if n > int64(len(s.data)) {
		s.data, s.arrived = nil, 0
		if s.err != nil {
			return s.err
		}
		return io.ErrUnexpectedEOF
	}
	s.data = s.data[n:]
	s.arrived = max(s.arrived-int(n), 0)
	return nil
}

func (s *source) Take(n int) ([]byte, error) {
	s.taken = append(s.taken, n)
	if n > len(s.data) {
		return nil, s.Skip(int64(n))
	}
	b := bytes.Clone(s.data[:n])
	return b, s.Skip(int64(n))
}

func TestReadOneAfterAnother(t *testing.T) {
	list := samples()
	var wire []byte
	for _, p := range list {
		wire = append(wire, encode(t, p)...)
	}
	for _, step := range []int{1, 2, 3, 7, 100, len(wire)} {
		src := &source{data: wire, step: step}
		for _, want := range list {
			got, err := packet.Read(src, 1000)
			require.NoError(t, err)
			requireSamePacket(t, want, got)
		}
		_, err := packet.Read(src, 1000)
		require.Equal(t, io.EOF, err)
	}
}

// A header is complete with its own last byte: a reader that asked for one more would wait for a
// packet that the peer sends only after it was answered.
func TestReadHeaderWaitsForNothingBehind(t *testing.T) {
	for _, p := range samples() {
		h := header(p)
		wire, err := h.Append(nil)
		require.NoError(t, err)
		src := &source{data: wire, step: 1, err: errors.New("asked for more than the header")}
		got, err := packet.ReadHeader(src)
		require.NoError(t, err)
		require.Equal(t, h, got)
		require.Empty(t, src.data)
	}
}

func TestReadTruncatedAtEveryByte(t *testing.T) {
	broken := errors.New("broken")
	for _, p := range samples() {
		wire := encode(t, p)
		for i := range wire {
			want := io.ErrUnexpectedEOF
			if i == 0 {
				want = io.EOF
			}
			_, err := packet.Read(&source{data: wire[:i], step: 3}, 1000)
			require.Equal(t, want, err, "%x cut to %d", wire, i)
			_, err = packet.Read(&source{data: wire[:i], step: 3, err: broken}, 1000)
			require.Equal(t, broken, err, "%x cut to %d", wire, i)
		}
	}
}

// The bytes of a bad header stay, so that they can be quoted.
func TestReadHeaderLeavesGarbage(t *testing.T) {
	src := &source{data: []byte{1, 'x', 'y'}, step: 1}
	_, err := packet.Read(src, 1000)
	requireField(t, err, "flags", packet.ErrFields)
	rest, err := src.Peek(3)
	require.NoError(t, err)
	assert.Equal(t, "\x01xy", string(rest))
}

func TestReadSkipsTooLarge(t *testing.T) {
	large := packet.Packet{Tag: 2, Request: true, Type: 9, Channel: 3, Flags: 4, Payload: make([]byte, 1001)}
	fits := packet.Packet{Tag: 3, Payload: make([]byte, 1000)}
	src := &source{data: append(encode(t, large), encode(t, fits)...), step: 64}

	got, err := packet.Read(src, 1000)
	var tooLarge *packet.TooLargeError
	require.ErrorAs(t, err, &tooLarge)
	assert.Equal(t, packet.TooLargeError{Size: 1001, Max: 1000}, *tooLarge)
	assert.Equal(t, "packet: payload of 1001 bytes is larger than the maximum of 1000", err.Error())
	large.Payload = nil
	assert.Equal(t, large, got, "the fields tell whose packet it was")

	got, err = packet.Read(src, 1000)
	require.NoError(t, err)
	requireSamePacket(t, fits, got)
	assert.Equal(t, []int{1000}, src.taken)
}

// No memory is asked for by a length that has not been compared with the maximum.
func TestReadTakesNothingForLengthsThatLie(t *testing.T) {
	for _, length := range []uint64{5000, packet.MaxPayload, packet.MaxPayload + 1, 1 << 40, 1 << 63, 1<<64 - 1} {
		src := &source{data: wireHeader(length, 2, 2, 1, 'x'), step: 1}
		_, err := packet.Read(src, 1000)
		if length > packet.MaxPayload+2 {
			requireField(t, err, "length", packet.ErrLength)
		} else {
			require.Equal(t, io.ErrUnexpectedEOF, err)
		}
		require.Empty(t, src.taken)
	}
}
