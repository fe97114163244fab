//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// inMemory is one end of two pipes in memory.
type inMemory struct {
	*io.PipeReader
	*io.PipeWriter
}

func memory() (one, other inMemory) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return inMemory{r1, w2}, inMemory{r2, w1}
}

func (m inMemory) CloseWrite() error { return m.PipeWriter.Close() }
func (m inMemory) Close() error      { return errors.Join(m.PipeReader.Close(), m.PipeWriter.Close()) }

// joinInMemory joins two transports whose other ends it returns.
func joinInMemory(opts *endpoint.JoinOptions) (client, server inMemory, result <-chan error) {
	client, a := memory()
	b, server := memory()
	ended := make(chan error, 1)
	go func() { ended <- endpoint.Join(context.Background(), a, b, opts) }()
	return client, server, ended
}

// A direction may be silent for just so long once the other has ended, counted from what it said last.
func TestJoinHalfOpenEnds(t *testing.T) {
	for name, c := range map[string]struct {
		opts  *endpoint.JoinOptions
		limit time.Duration
	}{
		"default": {nil, endpoint.DefaultHalfOpen},
		"set":     {&endpoint.JoinOptions{HalfOpen: time.Second}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server, result := joinInMemory(c.opts)
				time.Sleep(3 * c.limit) // both directions may be silent while both are open
				require.NoError(t, client.CloseWrite())
				_, err := server.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
				time.Sleep(c.limit * 2 / 3)
				_, err = server.Write([]byte("x"))
				require.NoError(t, err)
				_, err = io.ReadFull(client, make([]byte, 1))
				require.NoError(t, err)
				began := time.Now()
				require.ErrorIs(t, <-result, endpoint.ErrHalfOpen)
				require.Equal(t, c.limit, time.Since(began))
			})
		})
	}
}

// Without a limit an answer may take a day, either way.
func TestJoinHalfOpenForEver(t *testing.T) {
	for name, swap := range map[string]bool{"asked": false, "the other way": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server, result := joinInMemory(&endpoint.JoinOptions{HalfOpen: -1})
				if swap {
					client, server = server, client
				}
				require.NoError(t, client.CloseWrite())
				time.Sleep(24 * time.Hour)
				go func() {
					_, _ = server.Write([]byte("at last"))
					_ = server.CloseWrite()
				}()
				answer, err := io.ReadAll(client)
				require.NoError(t, err)
				require.Equal(t, "at last", string(answer))
				require.NoError(t, <-result)
			})
		})
	}
}

// The end of the context does not wait for a write that does not end, which with TLS holds up the end of the direction.
func TestJoinDrainsWhatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, a := memory()
		b, _ := memory()
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- endpoint.Join(ctx, a, &patient{inMemory: b, closed: make(chan struct{})}, nil) }()
		_, err := client.Write([]byte("nobody reads this"))
		require.NoError(t, err)
		synctest.Wait()
		cancel()
		began := time.Now()
		require.ErrorIs(t, <-result, endpoint.ErrNotDrained)
		require.Equal(t, pconn.DefaultDrainTimeout, time.Since(began))
	})
}

// patient is a Transport whose CloseWrite waits for what is being written, as that of crypto/tls does.
type patient struct {
	inMemory
	closed chan struct{}
}

func (p *patient) CloseWrite() error {
	<-p.closed
	return p.inMemory.CloseWrite()
}

func (p *patient) Close() error {
	close(p.closed)
	return p.inMemory.Close()
}
