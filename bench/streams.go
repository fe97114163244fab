package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/peer"
)

// streamRow is one thing that is measured of streams.
type streamRow struct {
	name string
	pipe int // bytes that both pipes hold, or 0 for the system's default
	bare bool
	run  func(s peer.StreamSession) (perSecond float64, err error)
}

const (
	bulkBytes     = 256 << 20
	manyStreams   = 100
	streamEchoes  = 2000
	streamOpens   = 1000
	largePipe     = 1 << 20
	streamMessage = 16
)

func streamRows() []streamRow {
	return []streamRow{
		{"one stream, MB/s, pipes of 1 MiB", largePipe, true, func(s peer.StreamSession) (float64, error) { return bulk(s, 1) }},
		{"one stream, MB/s, default pipes", 0, true, func(s peer.StreamSession) (float64, error) { return bulk(s, 1) }},
		{"100 streams, MB/s, pipes of 1 MiB", largePipe, true, func(s peer.StreamSession) (float64, error) { return bulk(s, manyStreams) }},
		{"100 streams, MB/s, default pipes", 0, true, func(s peer.StreamSession) (float64, error) { return bulk(s, manyStreams) }},
		{"open, echo 16 B, close, per s", 0, false, openEchoClose},
		{"echo 16 B on one stream, per s", 0, false, pingPong},
	}
}

func newStreamsCommand() *cobra.Command {
	var rounds int
	var only, rows []string
	cmd := &cobra.Command{
		Use:   "streams",
		Short: "Measure streams beside other multiplexers and a bare pipe",
		Long: `Measure streams beside other multiplexers and a bare pipe: bulk in blocks of 64 KiB from
this process to its child, and small echoes. All take turns in each round; the medians are shown.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return measureStreams(cmd.OutOrStdout(), rounds, only, rows)
		},
	}
	cmd.Flags().IntVar(&rounds, "rounds", 5, "how many rounds")
	cmd.Flags().StringSliceVar(&only, "peers", nil, "these peers only")
	cmd.Flags().StringSliceVar(&rows, "rows", nil, "only the rows with these numbers, from 1")
	return cmd
}

func measureStreams(out io.Writer, rounds int, only, rows []string) error {
	peers := peer.AllStreams()
	if len(only) > 0 {
		peers = slices.DeleteFunc(peers, func(p peer.Streams) bool { return !slices.Contains(only, p.Name) })
	}
	t := table.NewWriter()
	head := table.Row{"", peer.BarePipe}
	for _, p := range peers {
		head = append(head, p.Name)
	}
	t.AppendHeader(append(head, "of the pipe", "of the best other"))
	for i, row := range streamRows() {
		if len(rows) > 0 && !slices.Contains(rows, strconv.Itoa(i+1)) {
			continue
		}
		seen := make([][]float64, len(peers)+1)
		for round := range rounds {
			for i := range seen {
				// Who is first changes from round to round.
				i = (i + round) % len(seen)
				if i == 0 && !row.bare {
					continue
				}
				v, err := measureStreamRow(&row, peers, i-1)
				if err != nil {
					return fmt.Errorf("%s: %w", row.name, err)
				}
				seen[i] = append(seen[i], v)
			}
		}
		t.AppendRow(streamResults(&row, seen))
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}

// streamResults is a row of the table. Packetstream is the first after the bare pipe.
func streamResults(row *streamRow, seen [][]float64) table.Row {
	r := table.Row{row.name}
	median := make([]float64, len(seen))
	for i, v := range seen {
		if len(v) == 0 {
			r = append(r, "")
			continue
		}
		slices.Sort(v)
		median[i] = v[len(v)/2]
		r = append(r, fmt.Sprintf("%.0f", median[i]))
	}
	ofPipe, ofBest := "", ""
	if median[0] > 0 {
		ofPipe = fmt.Sprintf("%.2f", median[1]/median[0])
	}
	if len(median) > 2 {
		ofBest = fmt.Sprintf("%.2f", median[1]/slices.Max(median[2:]))
	}
	return append(r, ofPipe, ofBest)
}

// measureStreamRow measures a peer with a child of its own; -1 is the bare pipe.
func measureStreamRow(row *streamRow, peers []peer.Streams, i int) (float64, error) {
	name := peer.BarePipe
	if i >= 0 {
		name = peers[i].Name
	}
	pipes, err := newPair()
	if err != nil {
		return 0, err
	}
	if row.pipe > 0 {
		for _, f := range []*os.File{pipes.w, pipes.theirW} {
			if err := setPipeSize(f, row.pipe); err != nil {
				return 0, err
			}
		}
	}
	cmd, err := selfCommand("streams-child", name)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes.theirR, pipes.theirW, os.Stderr
	if err := errors.Join(cmd.Start(), pipes.theirR.Close(), pipes.theirW.Close()); err != nil {
		return 0, err
	}
	v, err := runStreamRow(row, peers, i, pipes.r, pipes.w)
	return v, errors.Join(err, endChild(cmd))
}

func runStreamRow(row *streamRow, peers []peer.Streams, i int, r, w *os.File) (float64, error) {
	if i < 0 {
		defer r.Close()
		defer w.Close()
		return bareBulk(r, w)
	}
	s, err := peers[i].Open(peer.Caller, r, w)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return row.run(s)
}

// endChild waits for the child, whose pipes are closed.
func endChild(cmd *exec.Cmd) error {
	stop := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	_ = cmd.Wait() // the others' sessions end with errors of their own
	return nil
}

func setPipeSize(f *os.File, size int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = rc.Control(func(fd uintptr) { _, serr = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	return errors.Join(err, serr)
}

func newStreamsChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "streams-child PEER",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGPIPE)
			r, errR := inherited(0, false)
			w, errW := inherited(1, false)
			if err := errors.Join(errR, errW); err != nil {
				return err
			}
			return serveStreamsChild(args[0], r, w)
		},
	}
}

func serveStreamsChild(name string, r, w *os.File) error {
	if name == peer.BarePipe {
		var length [8]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return err
		}
		if err := peer.Sink(r, length[:]); err != nil {
			return err
		}
		_, err := w.Write(length[:1])
		return err
	}
	for _, p := range peer.AllStreams() {
		if p.Name != name {
			continue
		}
		s, err := p.Open(peer.Answerer, r, w)
		if err != nil {
			return err
		}
		_ = peer.ServeStreams(s) // it ends with the caller
		_ = s.Close()
		return nil
	}
	return errors.New("no peer is called " + name)
}

// bareBulk copies through the bare pipe.
func bareBulk(r, w *os.File) (float64, error) {
	begun := time.Now()
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, bulkBytes)); err != nil {
		return 0, err
	}
	if err := writeBlocks(w, bulkBytes); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(r, make([]byte, 1))
	return megabytes(begun), err
}

func writeBlocks(w io.Writer, n int) error {
	block := make([]byte, peer.StreamBlock)
	for n > 0 {
		k, err := w.Write(block[:min(n, len(block))])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func megabytes(begun time.Time) float64 { return bulkBytes / 1e6 / time.Since(begun).Seconds() }

// bulk sends the same number of bytes over one stream, or over many at once.
func bulk(s peer.StreamSession, streams int) (float64, error) {
	var mu sync.Mutex // guards failed
	var failed error
	begun := time.Now()
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			if err := bulkStream(s, bulkBytes/streams); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return megabytes(begun), failed
}

func bulkStream(s peer.StreamSession, n int) error {
	c, err := s.Open(context.Background())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{peer.StreamSink}, uint64(n))); err != nil {
		return err
	}
	if err := writeBlocks(c, n); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

func openEchoClose(s peer.StreamSession) (float64, error) {
	begun := time.Now()
	for range streamOpens {
		c, err := s.Open(context.Background())
		if err != nil {
			return 0, err
		}
		if err := echoes(c, 1); err != nil {
			return 0, err
		}
		if err := c.Close(); err != nil {
			return 0, err
		}
	}
	return streamOpens / time.Since(begun).Seconds(), nil
}

func pingPong(s peer.StreamSession) (float64, error) {
	c, err := s.Open(context.Background())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := echoes(c, 1); err != nil {
		return 0, err
	}
	message := make([]byte, streamMessage)
	begun := time.Now()
	for range streamEchoes {
		if err := echo(c, message); err != nil {
			return 0, err
		}
	}
	return streamEchoes / time.Since(begun).Seconds(), nil
}

// echoes asks a new stream for echoes and makes some.
func echoes(c net.Conn, n int) error {
	first := append([]byte{peer.StreamEcho}, make([]byte, streamMessage)...)
	if _, err := c.Write(first); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, first[1:]); err != nil {
		return err
	}
	for range n - 1 {
		if err := echo(c, first[1:]); err != nil {
			return err
		}
	}
	return nil
}

func echo(c net.Conn, message []byte) error {
	if _, err := c.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(c, message)
	return err
}
