package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// FuzzReceive gives a connection any bytes in a few pieces, while it has calls out. It ends with one of its
// errors, its calls too, and takes no memory that the bytes only claim.
func FuzzReceive(f *testing.F) {
	for _, seed := range [][]byte{
		nil,
		eof,
		append(request(5, 1, "hello"), eof...),
		append(response(2, "answer"), response(3, "another")...),
		bytes.Join([][]byte{request(5, 0, ""), request(5, 0, ""), encode(packet.ERQ()), request(6, 0, "")}, nil),
		encode(packet.Packet{Tag: 7, Channel: 300, Flags: packet.MaxFlags, Request: true, Type: 1 << 40, Payload: []byte("x")}),
		[]byte("Welcome to the machine"),
		[]byte("Error: no such file\n"),
		{0x84, 0x80, 0x80, 0x08, 5, 2, 1}, // 8 MiB that do not come
		{0x80, 0x80, 0x80, 0x03, 0x80, 0, 0x80, 2, 0},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		{0},
		bytes.Join([][]byte{ // all that extends the protocol
			frameOf(frame.KindHello, 1, 0, plainHello()), frameOf(frame.KindPing, 3, 0, nil),
			frameOf(frame.KindHeaders, 5, 0, (&frame.Headers{Timeout: time.Second, Metadata: metadata("k", "v")}).Append(nil)),
			piece(5, false, 5, "hel"), request(5, 1, "lo"), frameOf(frame.KindCancel, 5, 0, (&frame.Cancel{Reason: 4, Text: "t"}).Append(nil)),
			frameOf(frame.KindHeaders, 2, 1, (&frame.Headers{Code: 3, Details: metadata("k", "v")}).Append(nil)),
			piece(2, true, 6, "ans"), response(2, "wer"), frameOf(frame.KindGoAway, 0, 0, (&frame.GoAway{Code: 1, Text: "bye"}).Append(nil)),
			frameOf(99, 0, 0, nil),
		}, nil),
		bytes.Join([][]byte{frameOf(frame.KindHello, 1, 0, plainHello()), frameOf(frame.KindHeaders, 5, 0, bytes.Repeat([]byte{2, 1, 0}, 5000)), request(5, 1, "")}, nil),
		bytes.Join([][]byte{frameOf(frame.KindHello, 1, 0, plainHello()), piece(5, false, 1<<20, "x"), piece(6, false, 1<<20, "y"), piece(7, false, 1<<40, "z")}, nil),
	} {
		f.Add(seed, uint16(3), uint16(9))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut1, cut2 uint16) {
		const maxPayload = 1 << 20
		in, out := bufio.Pipe(1 << 20)
		sink, connOut := bufio.Pipe(1 << 20)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conn, err := pconn.New(in, connOut, &pconn.Options{
			Handler:      pconn.HandlerFunc(echo),
			Channels:     map[uint64]pconn.Handler{1: pconn.NonBlocking(pconn.HandlerFunc(echo))},
			MaxPayload:   maxPayload,
			CloseTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		var results []*pconn.Result
		for range 3 {
			r, err := conn.Submit(context.Background(), pconn.Request{})
			if err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			io.Copy(io.Discard, sink)
		}()
		first := min(int(cut1), len(b))
		second := min(first+int(cut2), len(b))
		for _, piece := range [][]byte{b[:first], b[first:second], b[second:]} {
			var batch bufio.Batch
			batch.End(append(batch.Begin(), piece...))
			if err := out.Write(&batch, true); err != nil && !errors.Is(err, bufio.ErrPeerGone) {
				t.Fatal(err)
			}
		}
		out.Close()
		select {
		case <-conn.Done():
		case <-time.After(patience):
			t.Fatal("the connection does not end")
		}
		for _, r := range results {
			<-r.Done()
		}
		<-drained
		checkEnd(t, conn.Err())
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20+uint64(50*len(b)) {
			t.Fatalf("%d bytes of memory for %d bytes of input", took, len(b))
		}
	})
}

// checkEnd checks that a connection ended with one of the errors that are documented.
func checkEnd(t *testing.T, err error) {
	t.Helper()
	var perr *pconn.ProtocolError
	var limit *pconn.LimitError
	switch {
	case err == pconn.ErrPeerClosed, errors.As(err, &perr), errors.As(err, &limit):
	default:
		t.Fatalf("ended with %v", err)
	}
}
