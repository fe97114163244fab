package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func newEventstreamCodecCommand() *cobra.Command {
	var rounds int
	var slice time.Duration
	cmd := &cobra.Command{
		Use:   "codec",
		Short: "Measure the codec beside that of aws-sdk-go-v2",
		Long: `Encode and decode messages of four headers and a payload by this module's codec and by that of
github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream, in turns. Each encodes into memory that it is given again and
decodes from a reader, with room for the payload. "faster" is the SDK's time in a round by ours: the
median of the rounds, and their range.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rounds < 1 || slice <= 0 {
				return fmt.Errorf("%d rounds of %v", rounds, slice)
			}
			return compareCodecs(cmd.OutOrStdout(), rounds, slice)
		},
	}
	cmd.Flags().IntVar(&rounds, "rounds", 40, "how many rounds")
	cmd.Flags().DurationVar(&slice, "slice", 10*time.Millisecond, "how long each works in a round")
	return cmd
}

// codecTask is one thing that both codecs do.
type codecTask struct {
	name      string
	size      int
	ours, sdk func() error
}

func compareCodecs(out io.Writer, rounds int, slice time.Duration) error {
	tw := table.NewWriter()
	tw.SetOutputMirror(out)
	tw.AppendHeader(table.Row{"", "payload", "ours ns", "allocs", "SDK ns", "allocs", "faster"})
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		tasks, err := codecTasks(size)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			row, err := task.measure(rounds, slice)
			if err != nil {
				return fmt.Errorf("%s, %d bytes: %w", task.name, size, err)
			}
			tw.AppendRow(row)
		}
	}
	tw.Render()
	return nil
}

// codecTasks are the tasks for messages with a payload of size bytes. Both codecs' bytes have been compared.
func codecTasks(size int) ([]codecTask, error) {
	payload := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(payload)
	headers := eventstream.Headers{
		eventstream.String("content-type", "application/json"),
		eventstream.Int32(":message-type", 0),
		eventstream.Int32(":message-flags", 0),
		eventstream.Int32(":stream-id", 1),
	}
	theirs := sdk.Message{Payload: payload, Headers: sdk.Headers{
		{Name: "content-type", Value: sdk.StringValue("application/json")},
		{Name: ":message-type", Value: sdk.Int32Value(0)},
		{Name: ":message-flags", Value: sdk.Int32Value(0)},
		{Name: ":stream-id", Value: sdk.Int32Value(1)},
	}}
	wire, err := eventstream.AppendFrame(nil, headers, payload)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	encoder := sdk.NewEncoder()
	if err := encoder.Encode(&buf, theirs); err != nil {
		return nil, err
	}
	if !bytes.Equal(wire, buf.Bytes()) {
		return nil, fmt.Errorf("the codecs differ about a message of %d bytes", size)
	}

	ourBuf := make([]byte, 0, len(wire))
	ourDecoder, theirDecoder := eventstream.NewDecoder(&endless{b: wire}), sdk.NewDecoder()
	// The SDK reads the payload through a bytes.Buffer, which wants that much more room to find the end.
	source, room := &endless{b: wire}, make([]byte, 0, size+bytes.MinRead)
	var frame eventstream.Frame
	return []codecTask{{
		name: "encode", size: size,
		ours: func() (err error) { ourBuf, err = eventstream.AppendFrame(ourBuf[:0], headers, payload); return err },
		sdk:  func() error { buf.Reset(); return encoder.Encode(&buf, theirs) },
	}, {
		name: "decode", size: size,
		ours: func() error { return sameLen(ourDecoder.Decode(&frame), frame.Payload, size) },
		sdk: func() error {
			m, err := theirDecoder.Decode(source, room[:0])
			return sameLen(err, m.Payload, size)
		},
	}}, nil
}

func sameLen(err error, payload []byte, size int) error {
	if err == nil && len(payload) != size {
		return fmt.Errorf("decoded %d bytes instead of %d", len(payload), size)
	}
	return err
}

// endless reads the same bytes again and again.
type endless struct {
	b  []byte
	at int
}

func (r *endless) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

// measure lets the codecs take turns, and returns a row of the table.
func (t *codecTask) measure(rounds int, slice time.Duration) (table.Row, error) {
	var times [2][]float64
	var allocs [2]float64
	var faster []float64
	for round := range rounds + 1 {
		var took [2]float64
		for turn := range 2 {
			which := (turn + round) % 2
			run := []func() error{t.ours, t.sdk}[which]
			var err error
			if took[which], allocs[which], err = perRun(run, slice); err != nil {
				return nil, err
			}
		}
		if round == 0 {
			continue // it warms up
		}
		times[0], times[1] = append(times[0], took[0]), append(times[1], took[1])
		faster = append(faster, took[1]/took[0])
	}
	return table.Row{t.name, t.size, fmt.Sprintf("%.0f", spreadOf(times[0]).median), fmt.Sprintf("%.2f", allocs[0]),
		fmt.Sprintf("%.0f", spreadOf(times[1]).median), fmt.Sprintf("%.2f", allocs[1]), spreadOf(faster)}, nil
}

// perRun runs for about as long as slice and returns the nanoseconds and the allocations of one run.
func perRun(run func() error, slice time.Duration) (ns, allocs float64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	n := 0
	// The clock is looked at after every tenth of the runs so far.
	for batch := 1; time.Since(start) < slice; batch = max(1, n/10) {
		for range batch {
			if err := run(); err != nil {
				return 0, 0, err
			}
		}
		n += batch
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return float64(took.Nanoseconds()) / float64(n), float64(after.Mallocs-before.Mallocs) / float64(n), nil
}
