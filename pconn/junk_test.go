package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// Texts that programs print, each the beginning of what reads as a packet in another way.
var greetings = map[string]string{
	"reads as a response":        "Welcome to the machine",
	"reads as a request":         "Error: no such file or directory\n",
	"shorter than a header":      "Hi",
	"one letter":                 "E",
	"several lines":              "Error\r\n\tat line 5\n",
	"umlauts":                    "Er\u00f6ffnung",
	"with colour":                "\x1b[31mfailed\x1b[0m",
	"python's reports":           "PacketConnection[x]: request out: 3",
	"ends inside of a character": "Tr\xc3",
}

func TestTextInsteadOfPackets(t *testing.T) {
	for name, text := range greetings {
		t.Run(name, func(t *testing.T) {
			t.Run("then the stream ends", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write([]byte(text))
				p.out.Close()
				checkText(t, receiveFrom(t, res).err, text)
				checkText(t, p.conn.Wait(), text)
			})
			t.Run("then the connection is closed", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write([]byte(text))
				eventually(t, "it was read", func() bool { return p.conn.Text() != nil || p.conn.Err() != nil })
				p.conn.Close()
				checkText(t, receiveFrom(t, res).err, text)
				checkText(t, p.conn.Wait(), text)
				if pconn := p.conn.Text(); pconn != nil {
					require.Equal(t, text, string(pconn))
				}
			})
			t.Run("byte by byte", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				for i := range len(text) {
					if p.tryWrite([]byte(text[i:i+1])) != nil {
						break
					}
				}
				p.out.Close()
				checkText(t, receiveFrom(t, res).err, text)
			})
		})
	}
}

// checkText checks that an error quotes the first bytes of a text.
func checkText(t *testing.T, err error, text string) {
	t.Helper()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Zero(t, perr.Offset)
	require.NotEmpty(t, perr.Quote)
	require.Equal(t, text[:min(len(text), len(perr.Quote))], string(perr.Quote))
	require.Contains(t, err.Error(), fmt.Sprintf("%.4q", perr.Quote)[:3])
}

func TestFirstPacketThatAnswersNothingIsJunkAtOnce(t *testing.T) {
	p := raw(t, nil)
	p.write([]byte("Welcome to the machine")) // a response to tag 101 of 87 bytes
	receiveFrom(t, p.conn.Done())
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Err(), &perr)
	require.Contains(t, perr.Error(), "answers nothing")
	require.Contains(t, perr.Error(), `"Welcome to the machine"`)
}

func TestTextThatReadsAsAnAnswerIsFoundAtTheEnd(t *testing.T) {
	p := raw(t, nil)
	var last <-chan outcome
	for range 110 {
		last = do(soon(t), p.conn, pconn.Request{})
		p.expectRequest(0, "")
	}
	p.write([]byte("Welcome to the machine")) // tag 101 was asked
	eventually(t, "it was read", func() bool { return string(p.conn.Text()) == "Welcome to the machine" })
	require.NoError(t, p.conn.Err())
	p.conn.Close()
	err := receiveFrom(t, last).err
	require.ErrorIs(t, err, pconn.ErrClosed)
	checkText(t, err, "Welcome to the machine")
}

func TestIncompleteTextIsLoggedAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs syncbuf.Buffer
		o := &pconn.Options{Logger: logger(&logs), Name: "greeter"}
		p := raw(t, o)
		p.write([]byte("Error: "))
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, logs.String())
		require.Equal(t, "Error: ", string(p.conn.Text()))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Contains(t, logs.String(), "text instead of packets")
		require.Contains(t, logs.String(), `Error: `)
		require.Contains(t, logs.String(), "greeter")
		require.NoError(t, p.conn.Err())

		// A caller that gives up sees it in the log too, and by Text.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.conn.Do(ctx, pconn.Request{})
		require.True(t, err == context.DeadlineExceeded)
		require.NotNil(t, p.conn.Text())
	})
}

func TestTextThatBecomesAPacketIsOne(t *testing.T) {
	// A packet of nothing but printable characters, that comes in pieces.
	synctest.Test(t, func(t *testing.T) {
		var logs syncbuf.Buffer
		o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(req.Payload), nil })
		o.Logger = logger(&logs)
		p := raw(t, o)
		text := "Error: no such file or directory in the whole of the wide world, alas, x"
		n := int(text[0]) + 1
		p.write([]byte(text[:20]))
		synctest.Wait()
		require.Equal(t, text[:20], string(p.conn.Text()))
		p.write([]byte(text[20:n]))
		got := p.read()
		require.EqualValues(t, 'r', got.Tag)
		require.Equal(t, text[4:n], string(got.Payload))
		require.Nil(t, p.conn.Text())
		time.Sleep(5 * time.Second)
		require.NotContains(t, logs.String(), "text instead")
	})
}

func TestLongIncompleteFirstPacketIsNoText(t *testing.T) {
	p := raw(t, serve(echo))
	payload := bytes.Repeat([]byte("readable "), 1000)
	b := encode(packet.Packet{Tag: '0', Request: true, Flags: '0' >> 2, Type: '1', Payload: payload})
	for _, piece := range [][]byte{b[:100], b[100:500], b[500:]} {
		p.write(piece)
	}
	require.Equal(t, payload, p.read().Payload)
	require.Nil(t, p.conn.Text())
}

func TestTextAfterPacketsIsAnError(t *testing.T) {
	p := raw(t, serve(echo))
	p.write(request(5, 0, ""))
	p.expectResponse(5, true, "")
	p.write([]byte("Traceback (most recent call last):\n"))
	p.out.Close()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Wait(), &perr)
	require.Contains(t, perr.Error(), "Traceback (most recent call last)")
}
