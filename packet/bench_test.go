package packet_test

import (
	"fmt"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/require"
)

var sizes = []int{16, 4 << 10, 64 << 10}

func request(size int) packet.Packet {
	return packet.Packet{Tag: 123456, Request: true, Flags: 5, Type: 3, Payload: make([]byte, size)}
}

func TestNoAllocations(t *testing.T) {
	p := request(16)
	wire := encode(t, p)
	overlong := append([]byte{0x80, 0x80}, wire...)
	short := wire[:len(wire)-1]
	h := header(p)
	dst := make([]byte, 0, 64)
	cases := map[string]func() error{
		"Packet.Append":         func() error { _, err := p.Append(dst); return err },
		"Header.Append":         func() error { _, err := h.Append(dst); return err },
		"Decode":                func() error { _, _, err := packet.Decode(wire); return err },
		"Decode an over-long":   func() error { _, _, err := packet.Decode(overlong); return err },
		"ParseHeader":           func() error { _, _, err := packet.ParseHeader(wire); return err },
		"AppendUint":            func() error { packet.AppendUint(dst, 1<<63); return nil },
		"DecodeUint":            func() error { _, _, err := packet.DecodeUint(wire); return err },
		"Packet.Len":            func() error { _ = p.Len(); return nil },
		"Decode one incomplete": func() error { _, _, _ = packet.Decode(short); return nil },
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, f())
			require.Zero(t, testing.AllocsPerRun(100, func() { _ = f() }))
		})
	}
}

// ReadHeader passes over every header without taking memory: only payloads take some.
func TestReadHeaderAllocatesNothing(t *testing.T) {
	const runs = 100
	p := packet.Packet{Tag: 123456, Request: true, Type: 3}
	one := encode(t, p)
	src := &source{step: 1 << 20}
	for range runs + 1 {
		src.data = append(src.data, one...)
	}
	var err error
	require.Zero(t, testing.AllocsPerRun(runs, func() { _, err = packet.ReadHeader(src) }))
	require.NoError(t, err)
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := request(size)
			dst := make([]byte, 0, p.Len())
			b.SetBytes(int64(p.Len()))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = p.Append(dst[:0])
			}
		})
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	p := request(16)
	h := header(p)
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = h.Append(dst[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			wire := encode(b, request(size))
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = packet.Decode(wire)
			}
		})
	}
}

func BenchmarkParseHeader(b *testing.B) {
	p := request(16)
	overlong := append([]byte{0x80, 0x80}, encode(b, p)...)
	for name, wire := range map[string][]byte{"short": encode(b, packet.Packet{Tag: 2, Payload: p.Payload}), "usual": encode(b, p), "overlong": overlong} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = packet.ParseHeader(wire)
			}
		})
	}
}

func BenchmarkDecodeUint(b *testing.B) {
	for _, v := range []uint64{1, 1 << 13, 1 << 20, 1 << 63} {
		b.Run(fmt.Sprintf("%doctets", packet.UintLen(v)), func(b *testing.B) {
			wire := packet.AppendUint(nil, v)
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = packet.DecodeUint(wire)
			}
		})
	}
}
