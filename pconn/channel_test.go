package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

func TestChannelsHaveTagsOfTheirOwn(t *testing.T) {
	named := func(name string) pconn.Handler {
		return pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.Text(fmt.Sprintf("%s %d", name, req.Channel)), nil
		})
	}
	big := uint64(1) << 62
	a, b := pair(t, nil, &pconn.Options{Handler: named("main"), Channels: map[uint64]pconn.Handler{3: named("three"), big: named("big")}})
	three, err := a.Channel(3, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, three.Number())
	require.Same(t, a, three.Conn())
	require.Equal(t, a.Codec(), three.Codec())
	resp, err := three.Do(soon(t), pconn.Request{Channel: 99})
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload), "the channel's number, whatever the request says")
	resp, err = three.DoInto(soon(t), make([]byte, 20), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload))
	r, err := three.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	resp, err = r.Wait(soon(t))
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload))
	require.NoError(t, three.Notify(soon(t), pconn.Request{}))
	resp, err = a.Do(soon(t), pconn.Request{Channel: big})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint("big ", big), string(resp.Payload))

	_, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.ErrorIs(t, err, pconn.ErrUnknownChannel)
	four, err := b.Channel(4, named("four"))
	require.NoError(t, err)
	_, err = b.Channel(4, named("other"))
	require.Equal(t, pconn.ErrChannelInUse, err)
	same, err := b.Channel(4, nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, same.Number())
	resp, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.NoError(t, err)
	require.Equal(t, "four 4", string(resp.Payload))
	require.NoError(t, four.Close())
	_, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.ErrorIs(t, err, pconn.ErrUnknownChannel)

	for _, n := range []uint64{0, 127} {
		_, err = a.Channel(n, nil)
		require.Equal(t, pconn.ErrReservedChannel, err)
		_, _, err = pconn.Pipe(&pconn.Options{Channels: map[uint64]pconn.Handler{n: nil}}, nil)
		require.Equal(t, pconn.ErrReservedChannel, err)
	}
}

func TestUnknownChannelInBothTexts(t *testing.T) {
	p := raw(t, nil)
	for text, want := range map[string]bool{
		"unknown channel %d": true, // the reference's
		"unknown channel 5":  true, // ours
		"unknown channel 6":  false,
		"no request handler": false,
		"unknown channel":    false,
	} {
		res := do(soon(t), p.conn, pconn.Request{Channel: 5})
		got := p.read()
		require.EqualValues(t, 5, got.Channel)
		p.write(encode(packet.Packet{Tag: got.Tag, Channel: 5, Payload: []byte(text)}))
		err := receiveFrom(t, res).err
		require.Equal(t, want, errors.Is(err, pconn.ErrUnknownChannel), text)
		var remote *pconn.RemoteError
		require.ErrorAs(t, err, &remote)
		require.EqualValues(t, 5, remote.Channel)
	}
	res := do(soon(t), p.conn, pconn.Request{})
	p.write(encode(packet.Packet{Tag: p.expectRequest(0, ""), Payload: []byte("unknown channel 0")}))
	require.NotErrorIs(t, receiveFrom(t, res).err, pconn.ErrUnknownChannel)
}

// The reserved channel is none of those that OtherChannels answers: an end without extensions would be taken for one that
// has them.
func TestOtherChannelsHaveNotTheReserved(t *testing.T) {
	echo := pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(req.Payload), nil })
	a, _ := pair(t, nil, &pconn.Options{Extensions: pconn.ExtensionsOff, Handler: echo, OtherChannels: echo})
	_, err := a.Do(soon(t), pconn.Request{Channel: 126})
	require.NoError(t, err)
	_, err = a.Ping(soon(t))
	require.ErrorIs(t, err, pconn.ErrNoExtensions)
}
