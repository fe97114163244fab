package links

import (
	"context"
	"net"
	"testing"
	"io"
	"bytes"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	a, b := net.Pipe()
	ca, err := NewConn(StreamCarrier(a), nil)
	require.NoError(t, err)
	cb, err := NewConn(StreamCarrier(b), &ConnOptions{Side: 1})
	require.NoError(t, err)
	srv := NewEnd(ServicerFunc(func(ctx context.Context, op *Operation) error {
		for {
			p, err := op.Recv(ctx)
			if err == io.EOF {
				return op.Complete(Closing{})
			}
			if err != nil { return err }
			if err := op.Send(ctx, p); err != nil { return err }
		}
	}), &EndOptions{AutoGrant: 32})
	cli := NewEnd(nil, &EndOptions{AutoGrant: 32})
	srv.Start(); cli.Start()
	Join(srv, cb); Join(cli, ca)
	ctx := t.Context()
	op, err := cli.Operate(ctx, Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 300 {
		msg := []byte{byte(i)}
		if i%50 == 7 { msg = big }
		require.NoError(t, op.Send(ctx, msg))
		got, err := op.Recv(ctx)
		require.NoError(t, err)
		require.Equal(t, len(msg), len(got))
	}
	require.NoError(t, op.Complete(Closing{}))
	_, err = op.Recv(ctx)
	require.Equal(t, io.EOF, err)
	ca.Close(); cb.Close()
	<-srv.Stop(0)
	<-cli.Stop(0)
}
