package eventstream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// smallMessage is a typical message: 4 headers and a short payload.
func smallMessage() (eventstream.Headers, []byte) {
	return eventstream.Headers{
		eventstream.String("content-type", "application/json"),
		eventstream.Int32(":message-type", 0),
		eventstream.Int32(":message-flags", 0),
		eventstream.Int32(":stream-id", 1),
	}, []byte(`{"message":"hello"}`)
}

func benchmarkSizes(b *testing.B, run func(b *testing.B, headers eventstream.Headers, payload []byte)) {
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			headers, _ := smallMessage()
			b.ReportAllocs()
			run(b, headers, bytes.Repeat([]byte{'x'}, size))
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, headers eventstream.Headers, payload []byte) {
		var buf []byte
		for b.Loop() {
			buf, _ = eventstream.AppendFrame(buf[:0], headers, payload)
		}
		b.SetBytes(int64(len(buf)))
	})
}

func BenchmarkParseFrame(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, headers eventstream.Headers, payload []byte) {
		wire, _ := eventstream.AppendFrame(nil, headers, payload)
		var f eventstream.Frame
		for b.Loop() {
			if _, err := eventstream.ParseFrame(wire, &f); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(wire)))
	})
}

func BenchmarkDecoder(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, headers eventstream.Headers, payload []byte) {
		wire, _ := eventstream.AppendFrame(nil, headers, payload)
		d := eventstream.NewDecoder(&loopReader{b: wire})
		var f eventstream.Frame
		for b.Loop() {
			if err := d.Decode(&f); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(wire)))
	})
}
