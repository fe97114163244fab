//go:build linux

package share_test

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/endpoint/share"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func rejectionOf(t testing.TB, err error) *pconn.RemoteError {
	t.Helper()
	var rejected *pconn.RemoteError
	require.ErrorAs(t, err, &rejected)
	return rejected
}

// What belongs to a request and its answer goes through, on any channel, and what names connections is not among it.
func TestRequests(t *testing.T) {
	for _, askBack := range []bool{false, true} {
		t.Run(fmt.Sprint("ask back ", askBack), func(t *testing.T) {
			s := start(t, "serve", share.Options{Pool: size(2), AskBack: askBack})
			conn := s.dial(t, "Ada")
			md := pconn.Metadata{{Key: "a", Value: []byte("b")}, {Key: share.Key, Value: []byte("1")}}
			for _, channel := range []uint64{0, 9} {
				resp, err := conn.Do(childtest.Soon(t), pconn.Request{Channel: channel, Flags: 5, Payload: []byte("x"), Metadata: md})
				require.NoError(t, err)
				require.EqualValues(t, 5, resp.Flags)
				require.Equal(t, "x", string(resp.Payload))
				require.Equal(t, md[:1], resp.Metadata)
			}
			_, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeFail})
			rejected := rejectionOf(t, err)
			require.EqualValues(t, 7, rejected.Code)
			require.Equal(t, "seven", rejected.Text())
			require.Equal(t, "because", rejected.Details.Text("why"))
			require.Equal(t, s.Pool().Codec(), conn.Codec())
		})
	}
}

// A request that is given up is cancelled at the child.
func TestCancel(t *testing.T) {
	s := start(t, "serve", share.Options{AskBack: true})
	conn := s.dial(t, "Ada")
	ctx, cancel := context.WithCancel(childtest.Soon(t))
	hanging, err := conn.Submit(ctx, pconn.Request{Type: typeHang})
	require.NoError(t, err)
	_, err = conn.Do(childtest.Soon(t), pconn.Request{Metadata: pconn.Metadata{{Key: "a"}}}) // the extensions are there
	require.NoError(t, err)
	cancel()
	hanging.Cancel()
	resp, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeEnd})
	require.NoError(t, err)
	require.Contains(t, string(resp.Payload), "the caller gave up")
}

// A question of a child's goes to the connection whose request it belongs to, however many there are, and back again.
func TestAskBack(t *testing.T) {
	s := start(t, "serve", share.Options{Pool: size(2), AskBack: true})
	var all sync.WaitGroup
	for i := range 5 {
		name := fmt.Sprint("client ", i)
		conn := s.dial(t, name)
		for n := range 40 {
			all.Go(func() {
				channel := uint64(n % 3)
				resp, err := conn.Do(childtest.Soon(t), pconn.Request{Channel: channel, Type: typeBack, Flags: uint64(n), Payload: fmt.Append(nil, n)})
				if assert.NoError(t, err) {
					assert.Equal(t, fmt.Sprintf("%s on %d: %d", name, channel, n), string(resp.Payload))
					assert.EqualValues(t, n, resp.Flags)
				}
			})
		}
	}
	all.Wait()
}

// A child may ask whoever has asked it before, as long as that connection is there.
func TestAskLater(t *testing.T) {
	s := start(t, "serve", share.Options{AskBack: true})
	first, second := s.dial(t, "first"), s.dial(t, "second")
	_, err := first.Do(childtest.Soon(t), pconn.Request{Type: typeRemember})
	require.NoError(t, err)
	resp, err := second.Do(childtest.Soon(t), pconn.Request{Type: typeLater, Payload: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "first on 0: x", string(resp.Payload))

	require.NoError(t, first.Shutdown(childtest.Soon(t)))
	require.Eventually(t, func() bool {
		_, err = second.Do(childtest.Soon(t), pconn.Request{Type: typeLater})
		return err != nil
	}, childtest.Limit, 1)
	rejected := rejectionOf(t, err)
	require.Equal(t, share.CodeGone, rejected.Code)
	require.Equal(t, "the connection that was asked is over", rejected.Text())
}

// A question that does not say to whom is rejected, and the child learns why.
func TestAskNobody(t *testing.T) {
	for _, tc := range []struct {
		askBack bool
		typ     uint64
		text    string
	}{
		{true, typeNobody, "several connections share this process: it has to say by the metadata packetstream-connection which one it asks"},
		{false, typeNobody, "several connections share this process, none of which it can ask"},
		{false, typeBack, "several connections share this process, none of which it can ask"},
	} {
		t.Run(fmt.Sprint(tc.askBack, tc.typ), func(t *testing.T) {
			s := start(t, "serve", share.Options{AskBack: tc.askBack})
			_, err := s.dial(t, "Ada").Do(childtest.Soon(t), pconn.Request{Type: tc.typ})
			rejected := rejectionOf(t, err)
			if tc.askBack { // else the child has no use for the extensions, by which codes go
				require.Equal(t, share.CodeNobody, rejected.Code)
			}
			require.Equal(t, tc.text, rejected.Text())
		})
	}
}

// Who waits for a child that ends is told how, and nothing of what it said; the connection goes on.
func TestChildEnds(t *testing.T) {
	s := start(t, "serve", share.Options{})
	conn := s.dial(t, "Ada")
	_, err := conn.Do(childtest.Soon(t), pconn.Request{Type: typeExit})
	require.Equal(t, "the process that was asked has ended: exit status 3", rejectionOf(t, err).Text())
	resp, err := conn.Do(childtest.Soon(t), pconn.Request{Payload: []byte("again")})
	require.NoError(t, err)
	require.Equal(t, "again", string(resp.Payload))
}

// A child without extensions answers requests, and is no child that could ask back.
func TestPlainChild(t *testing.T) {
	s := start(t, "plain", share.Options{})
	conn := s.dial(t, "Ada")
	resp, err := conn.Do(childtest.Soon(t), pconn.Request{Payload: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "x", string(resp.Payload))
	_, err = conn.Do(childtest.Soon(t), pconn.Request{Metadata: pconn.Metadata{{Key: "a"}}})
	require.Equal(t, "the process to ask has no extensions", rejectionOf(t, err).Text())
	stream, err := conn.OpenStream(childtest.Soon(t), "echo", nil)
	require.NoError(t, err)
	_, err = stream.Read(make([]byte, 1))
	require.ErrorIs(t, err, pconn.ErrStreamRefused)
	require.ErrorContains(t, err, "the process to ask has no extensions")
}

func TestPlainChildCannotAskBack(t *testing.T) {
	s := start(t, "plain", share.Options{AskBack: true})
	_, err := s.dial(t, "Ada").Do(childtest.Soon(t), pconn.Request{})
	require.Error(t, err)
	require.Eventually(t, func() bool {
		err := s.Pool().Status()[0].Err
		return err != nil && assert.ErrorIs(t, err, pconn.ErrNoExtensions)
	}, childtest.Limit, 1)
}

func TestOptions(t *testing.T) {
	opts := &share.Options{}
	opts.Pool.Start.Conn.Handler = answers("")
	_, err := share.Start(t.Context(), func() *exec.Cmd { return childtest.Command("serve") }, opts)
	require.ErrorContains(t, err, "handlers of its own")
	_, err = share.Start(t.Context(), nil, &share.Options{Pool: pool.Options{Size: -1}})
	require.ErrorContains(t, err, "Options.Size")
	require.Nil(t, share.Back(nil))
}
