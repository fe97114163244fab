package mushroom

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManyElementsCostNoMemory: a list of the elements would be 12 times as large as the text. Bytes are counted,
// since how many allocations an error and the decoder's scanner take differs from run to run.
func TestManyElementsCostNoMemory(t *testing.T) {
	text := append([]byte("[1"), bytes.Repeat([]byte(",1"), 1<<19)...)
	text = append(text, ']')
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parseMessage(text, 10)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, ErrBadMessage)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(text)/10))
}

// TestMessageDoesNotHoldItsSurroundings: a few bytes of data that wait for a handler hold neither the blanks around
// them nor the body that they came in.
func TestMessageDoesNotHoldItsSurroundings(t *testing.T) {
	settings, err := newSettings(nil, nil, 0, Limits{})
	require.NoError(t, err)
	e := &Engine{settings: settings}
	blanks := bytes.Repeat([]byte(" "), 100_000)
	for _, text := range []string{`[1,0,"m",[1]`, `[1,0,[1],2`} {
		frame := append(append([]byte(text), blanks...), ']')
		m, err := e.parse(frame, len(frame))
		require.NoError(t, err)
		assert.Less(t, cap(m.Data)+cap(m.BadMethod), 100)
	}
	body := append(append([]byte(`[[1,0,"m",[1]]`), blanks...), ']')
	inside, err := openArray(body, 10)
	require.NoError(t, err)
	text, _ := nextElement(inside)
	m, err := e.parse(text, len(body))
	require.NoError(t, err)
	assert.Less(t, cap(m.Data), 100)
}
