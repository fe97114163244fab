package prpc_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tinylib/msgp/msgp"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// TestScalarSize compares every first byte with what the library makes of it.
func TestScalarSize(t *testing.T) {
	assert.Zero(t, prpc.ScalarSize(nil))
	scalars := 0
	for lead := range 256 {
		b := make([]byte, 16)
		b[0] = byte(lead)
		n := prpc.ScalarSize(b)
		if n == 0 {
			continue
		}
		scalars++
		rest, err := msgp.Skip(b)
		assert.NoError(t, err, "%#x", lead)
		assert.Len(t, rest, len(b)-n, "%#x", lead)
		_, err = msgp.Skip(b[:n-1])
		assert.ErrorIs(t, err, msgp.ErrShortBytes, "%#x", lead)
	}
	assert.Equal(t, 128+32+3+8+2, scalars)
}

// TestShortSize compares the first bytes of all short values with what the library makes of them.
func TestShortSize(t *testing.T) {
	assert.Zero(t, prpc.ShortSize(nil))
	assert.Zero(t, prpc.ShortSize([]byte{0xc4}), "binary without its length")
	short := 0
	for lead := range 256 {
		for _, second := range []byte{0, 1, 31, 255} {
			b := make([]byte, 300)
			b[0], b[1] = byte(lead), second
			n := prpc.ShortSize(b)
			if n == 0 {
				continue
			}
			short++
			rest, err := msgp.Skip(b)
			assert.NoError(t, err, "%#x", lead)
			assert.Len(t, rest, len(b)-n, "%#x", lead)
		}
	}
	assert.Equal(t, 4*(128+32+3+8+2+32+1+2), short)
}
