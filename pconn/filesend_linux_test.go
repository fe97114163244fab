package pconn_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// What a caller gives up has its files closed at the other end: those of a request that waits for its handler, and
// those of an answer that comes late.
func TestFilesOfCallsGivenUp(t *testing.T) {
	keepsDescriptors(t)
	g := newGate(t)
	opts := takesFiles(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		g.entered <- req.Type
		<-g.open
		return pconn.None().WithFiles(req.TakeFiles()...), nil
	})
	opts.MaxHandlers = 1
	a, b := sockets(t, takesFiles(nil), opts)
	file := written(t, "content")
	_, err := a.MaxFiles(soon(t))
	require.NoError(t, err)
	same := countsFiles(t)
	ctx, cancel := context.WithCancel(soon(t))
	var outs []<-chan outcome
	for range 50 {
		outs = append(outs, do(ctx, a, pconn.Request{Files: []*os.File{file, file}}))
	}
	eventually(t, "all have come", func() bool { return b.Counters().RequestsIn.Load() == 50 })
	cancel()
	for _, out := range outs {
		require.Equal(t, context.Canceled, receiveFrom(t, out).err)
	}
	eventually(t, "all are given up", func() bool { return b.Counters().CancelsIn.Load() == 50 })
	g.release()
	same()
	require.EqualValues(t, 98, b.Counters().StrayFiles.Load(), "of those that never began")

	// Those of requests that are rejected.
	require.NoError(t, b.GoAway(soon(t), 0, ""))
	_, err = a.Do(soon(t), pconn.Request{Files: []*os.File{file}})
	require.ErrorIs(t, err, pconn.ErrGoingAway)
	same()
}

// The end of a connection leaves no files behind, at whatever stage they are.
func TestFilesAtTheEnd(t *testing.T) {
	keepsDescriptors(t)
	file := written(t, "content")
	same := countsFiles(t)
	for range 20 {
		g := newGate(t)
		opts := takesFiles(g.serveCtx)
		opts.MaxHandlers = 2
		a, b := sockets(t, takesFiles(nil), opts)
		var outs []<-chan outcome
		for range 20 {
			outs = append(outs, do(soon(t), a, pconn.Request{Files: []*os.File{file, file, file}}))
		}
		receiveFrom(t, g.entered)
		within(t, func() { b.Close() })
		for _, out := range outs {
			require.Error(t, receiveFrom(t, out).err)
		}
		within(t, func() { a.Close() })
		same()
	}
	// A peer that never reads.
	x, y := socketPair(t)
	a := connOver(t, x, nil)
	hello := frame.Hello{Version: 1, Features: frame.FeatureFiles, MaxFiles: 10}
	_, err := y.Write(frameOf(frame.KindHello, 1, 0, hello.Append(nil)))
	require.NoError(t, err)
	var outs []<-chan outcome
	for range 100 {
		outs = append(outs, do(soon(t), a, pconn.Request{Payload: pattern(10000), Files: []*os.File{file}}))
	}
	// What 60 of them have queued is more than the socket takes.
	eventually(t, "the socket is full", func() bool { return a.Counters().PacketsOut.Load() > 60 })
	within(t, func() { a.Close() })
	for _, out := range outs {
		require.Error(t, receiveFrom(t, out).err)
	}
	require.NoError(t, y.Close())
	same()
}
