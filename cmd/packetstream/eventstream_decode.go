package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func newEventstreamDecodeCommand() *cobra.Command {
	var isHex bool
	cmd := &cobra.Command{
		Use:   "decode [FILE]",
		Short: "Print the messages in a capture as JSON lines",
		Long: `Read encoded messages, one behind the other, from FILE or standard input, and print one JSON object a
line for each:

  offset, length   where the message stands in the input, in bytes
  headers          name, type and value in wire order; 64-bit values are decimal strings, byte_buf is base64, and
                   what is not UTF-8 in names and strings is shown as U+FFFD
  payload          the payload
  encoding         of the payload: "utf-8", or "base64" if it is not text
  error            instead of these, for a message with a bad header

Bytes that are no message end the output with an error and exit status 1, as does a message with a bad header
once the rest is printed.`,
		Example: "  packetstream eventstream decode capture.bin\n  xxd -p capture.bin | packetstream eventstream decode --hex",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "it takes one file, got %q", args)
			}
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if isHex {
				in = hex.NewDecoder(&spaceless{bufio.NewReader(in)})
			}
			return decodeEventstream(in, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&isHex, "hex", false, "the input is hexadecimal text; white space is ignored")
	return cmd
}

// spaceless leaves white space out of what it reads.
type spaceless struct{ r io.ByteReader }

func (s *spaceless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b, err := s.r.ReadByte()
		if err != nil {
			return n, err
		}
		switch b {
		case ' ', '\t', '\r', '\n':
			if n > 0 && b == '\n' {
				return n, nil
			}
		default:
			p[n] = b
			n++
		}
	}
	return n, nil
}

// eventstreamMessage is how messages are printed. Its fields are a stable schema.
type eventstreamMessage struct {
	Offset   *int64              `json:"offset,omitempty"`
	Length   *int64              `json:"length,omitempty"`
	Headers  []eventstreamHeader `json:"headers,omitzero"`
	Payload  *string             `json:"payload,omitempty"`
	Encoding string              `json:"encoding,omitempty"`
	Error    string              `json:"error,omitempty"`
}

type eventstreamHeader struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value any    `json:"value"`
}

func eventstreamJSON(headers eventstream.Headers, payload []byte) eventstreamMessage {
	m := eventstreamMessage{Headers: []eventstreamHeader{}}
	for _, h := range headers {
		out := eventstreamHeader{Name: h.Name(), Type: h.Type().String(), Value: h.ValueString()}
		switch h.Type() {
		case eventstream.HeaderTypeBoolTrue, eventstream.HeaderTypeBoolFalse:
			out.Value, _ = h.Bool()
		case eventstream.HeaderTypeByte, eventstream.HeaderTypeInt16, eventstream.HeaderTypeInt32:
			out.Value = json.Number(h.ValueString())
		}
		m.Headers = append(m.Headers, out)
	}
	text := string(payload)
	m.Encoding = "utf-8"
	if !utf8.Valid(payload) {
		text, m.Encoding = base64.StdEncoding.EncodeToString(payload), "base64"
	}
	m.Payload = &text
	return m
}

func decodeEventstream(in io.Reader, out io.Writer) error {
	counted := &countingReader{r: in}
	dec := eventstream.NewDecoder(counted)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	bad := 0
	var f eventstream.Frame
	for {
		offset := counted.n - int64(dec.Buffered())
		err := dec.Decode(&f)
		if err == io.EOF {
			break
		}
		length := counted.n - int64(dec.Buffered()) - offset
		line := eventstreamJSON(f.Headers, f.Payload)
		switch {
		case err == nil:
		case isBadHeader(err):
			bad++
			line = eventstreamMessage{Error: err.Error()}
		default:
			return &refusedError{fmt.Errorf("at offset %d: %w", offset, err)}
		}
		line.Offset, line.Length = &offset, &length
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	if bad > 0 {
		return &refusedError{fmt.Errorf("messages with a bad header: %d", bad)}
	}
	return nil
}

func isBadHeader(err error) bool {
	return errors.Is(err, eventstream.ErrHeader) || errors.Is(err, eventstream.ErrHeaderType) ||
		errors.Is(err, eventstream.ErrTooManyHeaders)
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
