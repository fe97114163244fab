package protobuf_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/pconn/protobuf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	upper = iota
	fail
)

func connect(t testing.TB) *pconn.Conn {
	t.Helper()
	mux := pconn.NewMux()
	mux.Handle(upper, pconn.Typed(func(_ context.Context, s *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		return wrapperspb.String(strings.ToUpper(s.GetValue())), nil
	}))
	mux.Handle(fail, pconn.Typed(func(context.Context, *wrapperspb.StringValue) (string, error) { return "no message", nil }))
	o := &pconn.Options{Handler: mux, Codec: protobuf.Codec}
	a, b, err := pconn.Pipe(o, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
	return a
}

func TestCall(t *testing.T) {
	c := connect(t)
	got, err := pconn.Call[*wrapperspb.StringValue, *wrapperspb.StringValue](t.Context(), c, upper, wrapperspb.String("ada"))
	require.NoError(t, err)
	require.Equal(t, "ADA", got.GetValue())
	got, err = pconn.Call[*wrapperspb.StringValue, *wrapperspb.StringValue](t.Context(), c, upper, nil)
	require.NoError(t, err)
	require.Empty(t, got.GetValue())
}

func TestCallOfWhatIsNoMessage(t *testing.T) {
	c := connect(t)
	_, err := pconn.Call[string, *wrapperspb.StringValue](t.Context(), c, upper, "x")
	require.ErrorContains(t, err, "string is not a message")
	_, err = pconn.Call[*wrapperspb.StringValue, string](t.Context(), c, upper, nil)
	require.ErrorContains(t, err, "*string does not point to a message")
	_, err = pconn.Call[*wrapperspb.StringValue, *wrapperspb.StringValue](t.Context(), c, fail, nil)
	require.ErrorContains(t, err, "exception during handler")
}

func TestRoundTrips(t *testing.T) {
	list, err := structpb.NewList([]any{"a", 1.5, nil, map[string]any{"k": true}})
	require.NoError(t, err)
	for _, m := range []proto.Message{list, durationpb.New(1500), wrapperspb.Bytes([]byte{0, 255}), &structpb.Struct{}} {
		b, err := protobuf.Codec.Marshal(m)
		require.NoError(t, err)
		into := m.ProtoReflect().New().Interface()
		require.NoError(t, protobuf.Codec.Unmarshal(b, into))
		require.True(t, proto.Equal(m, into))
	}
}

func TestUnmarshalErrors(t *testing.T) {
	var s *wrapperspb.StringValue
	require.Error(t, protobuf.Codec.Unmarshal([]byte{0xff}, &s))
	require.Error(t, protobuf.Codec.Unmarshal(nil, nil))
	require.Error(t, protobuf.Codec.Unmarshal(nil, (**wrapperspb.StringValue)(nil)))
	require.Error(t, protobuf.Codec.Unmarshal(nil, new(*int)))
	require.Error(t, protobuf.Codec.Unmarshal(nil, 5))
}

func Example() {
	server := &pconn.Options{Codec: protobuf.Codec, Handler: pconn.Typed(
		func(_ context.Context, d *durationpb.Duration) (*wrapperspb.StringValue, error) {
			return wrapperspb.String(d.AsDuration().String()), nil
		})}
	client, peer, err := pconn.Pipe(&pconn.Options{Codec: protobuf.Codec}, server)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer peer.Close()
	defer client.Close()
	text, err := pconn.Call[*durationpb.Duration, *wrapperspb.StringValue](context.Background(), client, 0, &durationpb.Duration{Seconds: 90})
	fmt.Println(text.GetValue(), err)
	// Output: 1m30s <nil>
}
