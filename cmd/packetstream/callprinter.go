package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/packetstream/packetstream/pconn"
)

// callPrinter prints outcomes of requests.
type callPrinter struct {
	out    *bufio.Writer
	errOut io.Writer
	json   *json.Encoder // nil for plain lines
}

func newCallPrinter(out, errOut io.Writer, asJSON bool) *callPrinter {
	p := &callPrinter{out: bufio.NewWriter(out), errOut: errOut}
	if asJSON {
		p.json = json.NewEncoder(p.out)
		p.json.SetEscapeHTML(false)
	}
	return p
}

func (p *callPrinter) flush() error { return p.out.Flush() }

// outcome prints one outcome. The error is that of standard output.
func (p *callPrinter) outcome(r *called) error {
	if p.json != nil {
		return p.json.Encode(newCallLine(r))
	}
	var remote *pconn.RemoteError
	switch {
	case errors.As(r.err, &remote):
		fmt.Fprintf(p.errOut, "packetstream: request %d rejected%s: %s\n", r.n, flagsText(remote.Flags), peerText(remote.Payload))
		return nil
	case r.err != nil:
		fmt.Fprintf(p.errOut, "packetstream: request %d: %v\n", r.n, r.err)
		return nil
	case r.resp.Flags != 0:
		fmt.Fprintf(p.errOut, "request %d:%s\n", r.n, flagsText(r.resp.Flags))
	}
	for _, f := range r.resp.Metadata {
		fmt.Fprintf(p.errOut, "request %d: %s=%s\n", r.n, peerText([]byte(f.Key)), peerText(f.Value))
	}
	_, err := p.out.Write(append(r.resp.Payload, '\n'))
	return err
}

func flagsText(flags uint64) string {
	if flags == 0 {
		return ""
	}
	return fmt.Sprintf(" flags %#x", flags)
}

// peerText is the peer's text as it may be shown on a terminal: quoted if there is more in it than text and
// line ends.
func peerText(b []byte) string {
	s := string(b)
	shown := func(r rune) bool { return unicode.IsPrint(r) || r == '\n' || r == '\t' }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !shown(r) }) < 0 {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// callLine is a line of --json. Its fields are a stable schema, which the help of call describes.
type callLine struct {
	N        int     `json:"n"`
	OK       bool    `json:"ok"`
	Type     uint64  `json:"type"`
	Flags    uint64  `json:"flags"`
	Payload  string  `json:"payload"`
	Encoding string  `json:"encoding"`
	MS       float64 `json:"ms"`
	Error    string  `json:"error,omitempty"`

	Metadata [][2]string `json:"metadata,omitempty"`
	Code     uint64      `json:"code,omitempty"`
	Details  [][2]string `json:"details,omitempty"`
}

func newCallLine(r *called) *callLine {
	line := &callLine{N: r.n, OK: r.resp.OK, Type: r.typ, Flags: r.resp.Flags, Payload: string(r.resp.Payload), Encoding: "utf-8",
		MS: float64(r.took.Microseconds()) / 1000}
	if !utf8.Valid(r.resp.Payload) {
		line.Payload, line.Encoding = base64.StdEncoding.EncodeToString(r.resp.Payload), "base64"
	}
	line.Metadata = pairsOf(r.resp.Metadata)
	var remote *pconn.RemoteError
	switch {
	case errors.As(r.err, &remote):
		line.Code, line.Details = remote.Code, pairsOf(remote.Details)
	case r.err != nil:
		line.Error = r.err.Error()
	}
	return line
}

func pairsOf(md pconn.Metadata) [][2]string {
	var pairs [][2]string
	for _, f := range md {
		pairs = append(pairs, [2]string{f.Key, string(f.Value)})
	}
	return pairs
}
