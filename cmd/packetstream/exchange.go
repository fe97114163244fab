package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// exchange is a request and the answer it should have.
type exchange struct {
	name    string
	typ     uint64
	flags   uint64
	payload []byte
	want    pconn.Response
}

func ok(flags uint64, payload string) pconn.Response {
	return pconn.Response{OK: true, Flags: flags, Payload: []byte(payload)}
}

func failed() pconn.Response {
	return pconn.Response{Payload: []byte("exception during handler")}
}

func text(s string) []byte { return []byte(s) }

// back is the payload that makes the peer ask typ back.
func back(typ uint64, payload string) []byte {
	return append(packet.AppendUint(nil, typ), payload...)
}

// exchanges are the kinds of requests and answers, one by one: made by us, and then by the peer, which is
// asked to ask them back.
func exchanges() []exchange {
	all := ownExchanges()
	for _, x := range ownExchanges() {
		x.name = "asked back: " + x.name
		x.typ, x.payload = testservice.Back, back(x.typ, string(x.payload))
		if !x.want.OK {
			x.want = failed()
		}
		all = append(all, x)
	}
	deep := back(testservice.Back, string(back(testservice.Back, string(back(testservice.Pair, "deep")))))
	return append(all, exchange{"asked back to and fro", testservice.Back, 6, deep, ok(6, "deep")})
}

func ownExchanges() []exchange {
	mib := string(testservice.HugeBytes(1 << 20))
	return []exchange{
		{"none", testservice.None, 5, text("ignored"), ok(0, "")},
		{"flags", testservice.Flags, 0x1234, text("ignored"), ok(0x1234, "")},
		{"flags zero", testservice.Flags, 0, nil, ok(0, "")},
		{"flags 2^40", testservice.Flags, 1 << 40, nil, ok(1<<40, "")},
		{"bytes", testservice.Bytes, 7, text("hello\x00\xff"), ok(0, "hello\x00\xff")},
		{"bytes empty", testservice.Bytes, 0, nil, ok(0, "")},
		{"text", testservice.Text, 7, text("plain"), ok(0, "plain")},
		{"text not ASCII", testservice.Text, 0, text("naïve 漢字 \U0001f600"), ok(0, "naïve 漢字 \U0001f600")},
		{"text lone surrogates", testservice.Text, 0, text("a\xed\xa0\x80b\xed\xbf\xbfc"), ok(0, "a&#55296;b&#57343;c")},
		{"text surrogate pair as two", testservice.Text, 0, text("\xed\xa0\xbd\xed\xb8\x80"), ok(0, "&#55357;&#56832;")},
		{"text bad UTF-8", testservice.Text, 0, text("\xff\xfe"), failed()},
		{"flags and bytes", testservice.Pair, 99, text("xyz"), ok(99, "xyz")},
		{"failing", testservice.Raise, 3, text("xyz"), failed()},
		{"sleeping", testservice.Sleep, 2, text("20:tail"), ok(2, "20:tail")},
		{"huge 0", testservice.Huge, 0, text("0"), ok(0, "")},
		{"huge 1", testservice.Huge, 0, text("1"), ok(0, "\x00")},
		{"huge 16383", testservice.Huge, 0, text("16383"), ok(0, string(testservice.HugeBytes(16383)))},
		{"huge 3000000", testservice.Huge, 0, text("3000000"), ok(0, string(testservice.HugeBytes(3000000)))},
		{"bytes 1 MiB", testservice.Bytes, 0, text(mib), ok(0, mib)},
		{"unknown type", 1000, 0, nil, failed()},
	}
}

// check makes the request. The error is a differenceError, or that of a call that has no answer.
func (x *exchange) check(ctx context.Context, c *endpoint.Conn) error {
	return x.compare(c.Do(ctx, pconn.Request{Type: x.typ, Flags: x.flags, Payload: x.payload}))
}

func (x *exchange) compare(got pconn.Response, err error) error {
	if err != nil && !errors.As(err, new(*pconn.RemoteError)) {
		return err
	}
	if got.OK != x.want.OK || got.Flags != x.want.Flags || !bytes.Equal(got.Payload, x.want.Payload) {
		return differencef("got %s, want %s", show(got), show(x.want))
	}
	return nil
}

func show(r pconn.Response) string {
	p := r.Payload
	more := ""
	if len(p) > 60 {
		p, more = p[:60], fmt.Sprintf("... (%d)", len(r.Payload))
	}
	return fmt.Sprintf("(%v, %#x, %q%s)", r.OK, r.Flags, p, more)
}
