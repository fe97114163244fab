package tick

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSymbolsInOrder(t *testing.T) {
	var got []byte
	ticker := New(func(b []byte) { got = append(append(got, b...), ' ') })
	for _, s := range []Symbol{Sent, Grace, Received, Flush, Sent, EOF, Symbol(99)} {
		ticker.Tick(s)
	}
	require.NoError(t, ticker.Close(context.Background()))
	assert.Equal(t, "> Sg < F > >EOF ? ", string(got))
	assert.Zero(t, ticker.Dropped())
	ticker.Tick(Sent)
	assert.EqualValues(t, 1, ticker.Dropped(), "closed")
}

func TestOff(t *testing.T) {
	ticker := New(nil)
	assert.Nil(t, ticker)
	ticker.Tick(Sent)
	assert.Zero(t, ticker.Dropped())
	require.NoError(t, ticker.Close(context.Background()))
	assert.Zero(t, testing.AllocsPerRun(100, func() { ticker.Tick(Sent) }))
}

func TestASlowFunctionDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		calls := 0
		ticker := New(func([]byte) {
			<-release
			calls++
		})
		ticker.Tick(Sent)
		synctest.Wait()
		for range queued + 10 {
			ticker.Tick(Received)
		}
		assert.EqualValues(t, 10, ticker.Dropped())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, ticker.Close(ctx), context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		assert.Equal(t, 1, calls)
	})
}

func TestAPanickingFunctionIsContained(t *testing.T) {
	calls := 0
	ticker := New(func([]byte) {
		calls++
		panic("no")
	})
	ticker.Tick(Sent)
	ticker.Tick(Sent)
	require.NoError(t, ticker.Close(context.Background()))
	assert.Equal(t, 2, calls)
}

func BenchmarkOff(b *testing.B) {
	ticker := New(nil)
	for b.Loop() {
		ticker.Tick(Sent)
	}
}

func BenchmarkTick(b *testing.B) {
	ticker := New(func([]byte) {})
	b.ReportAllocs()
	for b.Loop() {
		ticker.Tick(Sent)
	}
	require.NoError(b, ticker.Close(context.Background()))
}
