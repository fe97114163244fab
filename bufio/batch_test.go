package bufio

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// modelPacket is a packet of the model: what is to be written of it, and how much was.
type modelPacket struct {
	bytes   []byte
	header  int
	id      Ref
	byRef   bool
	payload []byte // the caller's memory, while it is lent to the Batch
	copied  bool   // detached
	wrote   int
	handles *Handles // go with the first byte
	gone    bool     // unlinked, or written to the end
}

// batchModel is a Batch beside the simplest thing that does the same.
type batchModel struct {
	b       Batch
	packets []*modelPacket
	written []byte
	want    []byte
	lent    [][]byte
}

func (m *batchModel) left() (n int) {
	for _, p := range m.packets {
		if !p.gone {
			n += len(p.bytes) - p.wrote
		}
	}
	return n
}

func (m *batchModel) add(t *rapid.T) {
	header := pattern(rapid.SampledFrom([]int{0, 1, 7, 40}).Draw(t, "header"))
	buf := append(m.b.Begin(), header...)
	p := &modelPacket{header: len(header), bytes: header}
	if rapid.Bool().Draw(t, "by reference") {
		p.byRef = true
		p.payload = pattern(rapid.SampledFrom([]int{0, 1, 100, 70_000}).Draw(t, "payload"))
		p.bytes = slices.Concat(header, p.payload)
		p.id = m.b.EndRef(buf, p.payload)
	} else {
		if rapid.Bool().Draw(t, "large") {
			more := pattern(rapid.IntRange(0, 40_000).Draw(t, "copied"))
			buf = append(buf, more...)
			p.bytes = slices.Concat(header, more)
		}
		m.b.End(buf)
	}
	p.gone = len(p.bytes) == 0
	m.packets = append(m.packets, p)
}

func (m *batchModel) addHandles(t *rapid.T) {
	p := &modelPacket{bytes: pattern(rapid.SampledFrom([]int{1, 7, 40}).Draw(t, "packet")), handles: new(Handles)}
	m.b.EndHandles(append(m.b.Begin(), p.bytes...), p.handles)
	m.packets = append(m.packets, p)
}

// checkHandles makes sure that descriptors go with the first byte that was handed out, and no byte of a later packet
// that has some is handed out with it.
func (m *batchModel) checkHandles(t *rapid.T, bufs [][]byte) {
	n, most := len(bytes.Join(bufs, nil)), 0
	var want *Handles
	for _, p := range m.packets {
		switch {
		case p.gone:
			continue
		case p.handles != nil && p.wrote == 0 && most > 0:
			require.LessOrEqual(t, n, most)
			require.Same(t, want, m.b.Handles())
			return
		case p.handles != nil && p.wrote == 0:
			want = p.handles
		}
		most += len(p.bytes) - p.wrote
	}
	require.Same(t, want, m.b.Handles())
}

func (m *batchModel) giveUp(t *rapid.T) {
	// A packet that turns out to be impossible is not passed back.
	_ = append(m.b.Begin(), pattern(rapid.IntRange(0, 100).Draw(t, "given up"))...)
}

// next hands out what is to be written.
func (m *batchModel) next(t *rapid.T) {
	if m.lent != nil {
		return
	}
	bufs := m.b.Next(nil)
	if m.left() == 0 {
		require.Empty(t, bufs)
		return
	}
	require.NotEmpty(t, bufs)
	m.checkHandles(t, bufs)
	m.lent = bufs
}

func (m *batchModel) wrote(t *rapid.T) {
	if m.lent == nil {
		return
	}
	all := bytes.Join(m.lent, nil)
	n := rapid.SampledFrom([]int{0, len(all), rapid.IntRange(0, len(all)).Draw(t, "some")}).Draw(t, "n")
	m.written = append(m.written, all[:n]...)
	m.b.Wrote(n)
	m.lent = nil
	for _, p := range m.packets {
		if p.gone {
			continue
		}
		k := min(n, len(p.bytes)-p.wrote)
		m.want = append(m.want, p.bytes[p.wrote:p.wrote+k]...)
		p.wrote += k
		n -= k
		if p.wrote < len(p.bytes) {
			break
		}
		p.gone = true
	}
	require.Zero(t, n, "more was handed out than there was")
}

func (m *batchModel) refs() (refs []*modelPacket) {
	for _, p := range m.packets {
		if p.byRef && !p.gone && !p.copied {
			refs = append(refs, p)
		}
	}
	return refs
}

func (m *batchModel) leave(t *rapid.T, unlink bool) {
	refs := m.refs()
	if len(refs) == 0 {
		return
	}
	p := rapid.SampledFrom(refs).Draw(t, "which")
	state := m.b.State(p.id)
	begun := p.wrote > 0
	if m.lent == nil {
		require.Equal(t, begun, state == RefBegun)
		require.Equal(t, !begun, state == RefWaiting)
	}
	if unlink {
		ok := m.b.Unlink(p.id)
		require.Equal(t, state == RefWaiting, ok)
		p.gone = p.gone || ok
	} else {
		ok := m.b.Detach(p.id)
		require.Equal(t, state != RefLent, ok)
		p.copied = ok
	}
	if p.gone || p.copied {
		require.Equal(t, RefGone, m.b.State(p.id))
		clear(p.payload) // The caller has its memory back and uses it.
		p.payload = nil
		if p.copied {
			return
		}
	}
}

// filter takes packets out by what they are, while nothing was handed out.
func (m *batchModel) filter(t *rapid.T) {
	if m.lent != nil || m.b.pos > 0 || m.b.next > 0 || slices.ContainsFunc(m.b.refs, func(r ref) bool { return r.part }) {
		return
	}
	in := slices.DeleteFunc(slices.Clone(m.packets), func(p *modelPacket) bool {
		if p.byRef {
			return !m.holds(p)
		}
		return p.gone
	})
	var want []*Handles
	left := m.b.Filter(func(head []byte) (int, bool) {
		require.NotEmpty(t, in)
		p := in[0]
		in = in[1:]
		if p.byRef {
			require.True(t, bytes.Equal(p.bytes[:p.header], head))
		} else {
			require.True(t, bytes.HasPrefix(head, p.bytes))
		}
		p.gone = p.gone || rapid.Bool().Draw(t, "taken out")
		if p.gone && p.handles != nil {
			want = append(want, p.handles)
		}
		return len(p.bytes), !p.gone
	})
	require.Empty(t, in)
	require.Equal(t, want, left)
}

// holds says whether a packet by reference is in the Batch as it is used now.
func (m *batchModel) holds(p *modelPacket) bool {
	i := uint64(p.id) - m.b.base
	return i < uint64(len(m.b.refs)) && !m.b.refs[i].dead
}

func TestBatchWritesWhatAModelWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &batchModel{}
		t.Repeat(map[string]func(*rapid.T){
			"add":     m.add,
			"pass":    m.addHandles,
			"give up": m.giveUp,
			"filter":  m.filter,
			"next":    m.next,
			"wrote":   m.wrote,
			"unlink":  func(t *rapid.T) { m.leave(t, true) },
			"detach":  func(t *rapid.T) { m.leave(t, false) },
			"": func(t *rapid.T) {
				require.Equal(t, m.left(), m.b.Len())
				require.True(t, bytes.Equal(m.want, m.written))
			},
		})
		for m.left() > 0 {
			m.next(t)
			m.wrote(t)
		}
		require.True(t, bytes.Equal(m.want, m.written))
		require.Zero(t, m.b.Len())
	})
}

func TestNamesOfAnEarlierUseAreGone(t *testing.T) {
	var b Batch
	b.End(append(b.Begin(), "packet"...))
	b.Reset()
	assert.False(t, b.HadRefs())
	id := b.EndRef(append(b.Begin(), "h"...), []byte("payload"))
	assert.True(t, b.HadRefs())
	assert.Equal(t, RefWaiting, b.State(id))
	b.Reset()
	assert.True(t, b.HadRefs(), "somebody may ask for id still")
	later := b.EndRef(append(b.Begin(), "h"...), []byte("payload"))
	assert.NotEqual(t, id, later)
	assert.Equal(t, RefGone, b.State(id))
	assert.False(t, b.Unlink(id))
	assert.True(t, b.Detach(id))
	assert.True(t, b.Unlink(later))
	assert.Zero(t, b.Len())
	assert.Empty(t, b.Next(nil))
}

func TestLentMemoryIsNotGivenBack(t *testing.T) {
	var b Batch
	id := b.EndRef(append(b.Begin(), "head"...), []byte("payload"))
	b.Next(nil)
	assert.Equal(t, RefLent, b.State(id))
	assert.False(t, b.Unlink(id))
	assert.False(t, b.Detach(id))
	behind := b.EndRef(append(b.Begin(), "more"...), []byte("payload"))
	assert.True(t, b.Unlink(behind), "what came later was not handed out")
	b.Wrote(2)
	assert.Equal(t, RefBegun, b.State(id))
	assert.False(t, b.Unlink(id), "a packet that was begun is finished")
	assert.True(t, b.Detach(id))
	assert.Equal(t, "adpayload", string(bytes.Join(b.Next(nil), nil)))
}

func TestAPayloadWithoutHeaderThatWasBegun(t *testing.T) {
	var b Batch
	id := b.EndRef(b.Begin(), []byte("payload"))
	b.Next(nil)
	b.Wrote(3)
	assert.Equal(t, RefBegun, b.State(id))
	assert.False(t, b.Unlink(id))
}

func TestResetKeepsAModestBuffer(t *testing.T) {
	var b Batch
	b.End(append(b.Begin(), make([]byte, batchKeep/2)...))
	b.Reset()
	assert.GreaterOrEqual(t, cap(b.buf), batchKeep/2)
	b.End(append(b.Begin(), make([]byte, 2*batchKeep)...))
	b.Reset()
	assert.Zero(t, cap(b.buf))
}

func TestABatchThatIsNeverEmptyDoesNotGrow(t *testing.T) {
	var b Batch
	packet := make([]byte, 1000)
	b.End(append(b.Begin(), packet...))
	for range 10_000 {
		b.End(append(b.Begin(), packet...))
		b.EndRef(b.Begin(), packet)
		b.Next(nil)
		b.Wrote(2 * len(packet))
	}
	assert.Less(t, cap(b.buf), 8*batchShift)
	assert.Less(t, cap(b.refs), 1000)
}
