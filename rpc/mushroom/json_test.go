package mushroom

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestManyElementsCostNoMemory: a list of the elements would be 12 times as large as the text.
func TestManyElementsCostNoMemory(t *testing.T) {
	text := append([]byte("[1"), bytes.Repeat([]byte(",1"), 1<<19)...)
	text = append(text, ']')
	assert.Less(t, testing.AllocsPerRun(3, func() {
		_, err := parseMessage(text, 10)
		assert.ErrorIs(t, err, ErrBadMessage)
	}), 10.0)
}
