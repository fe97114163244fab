package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
)

// serversRun compares servers of the event-stream test service.
type serversRun struct {
	root   string
	rounds int
	slice  time.Duration
	modes  []string
}

func newEventstreamServersCommand() *cobra.Command {
	var run serversRun
	cmd := &cobra.Command{
		Use:   "servers",
		Short: "Measure the server beside the reference's Java server",
		Long: `Let the reference's Python client call this module's server and the reference's Java server over loopback, in turns.
"calls" is one echo after the other, "stream" one message there and back on an open stream, "many" 64
echoes in flight, "large" an echo of 64 KiB, which waits for the client's own Nagle. "ratio" is our rate in a
round by Java's: the median of the rounds, and their range. The peers are those that scripts/peers makes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run.rounds < 1 || run.slice <= 0 {
				return fmt.Errorf("%d rounds of %v", run.rounds, run.slice)
			}
			return run.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&run.root, "root", ".", "the repository's root")
	f.IntVar(&run.rounds, "rounds", 40, "how many rounds")
	f.DurationVar(&run.slice, "slice", 150*time.Millisecond, "how long each server is called in a round")
	f.StringSliceVar(&run.modes, "modes", []string{"calls", "stream", "many"}, "what is measured")
	serve := &cobra.Command{
		Use:    "serve",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveEventstream(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.AddCommand(serve)
	return cmd
}

// serveEventstream serves until its input ends, as the Java server does.
func serveEventstream(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := eventstreamtest.New()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	if _, err := fmt.Fprintln(out, "LISTENING", l.Addr().(*net.TCPAddr).Port); err != nil {
		return errors.Join(err, s.Close(), <-served)
	}
	_, err = io.Copy(io.Discard, in)
	_ = s.Close()
	<-served
	return err
}

// child is a process with lines on its pipes.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(ctx context.Context, log io.Writer, name string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, name, args...)}
	c.cmd.Stderr = log
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c, c.cmd.Start()
}

func (c *child) stop() {
	_ = c.in.Close()
	_ = c.cmd.Wait() // the Java server halts without care for its exit status
}

// startServer starts a server and returns where it listens.
func startServer(ctx context.Context, log io.Writer, name string, args ...string) (*child, string, error) {
	c, err := startChild(ctx, log, name, args...)
	if err != nil {
		return nil, "", err
	}
	line, err := c.out.ReadString('\n')
	port, ok := strings.CutPrefix(strings.TrimSpace(line), "LISTENING ")
	if err != nil || !ok {
		c.stop()
		return nil, "", fmt.Errorf("%s said %q: %w", name, line, err)
	}
	return c, "127.0.0.1:" + port, nil
}

func (r *serversRun) run(ctx context.Context, out, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	peers, kit := filepath.Join(r.root, ".cache/peers"), filepath.Join(r.root, "rpc/eventstream/testdata/peers")
	ours, ourAddress, err := startServer(ctx, log, self, "eventstream", "servers", "serve")
	if err != nil {
		return err
	}
	defer ours.stop()
	java, javaAddress, err := startServer(ctx, log, "java", "-cp", filepath.Join(peers, "eventstream-java", "*"),
		filepath.Join(kit, "server/EchoServer.java"), "--quiet", "--port", "0")
	if err != nil {
		return err
	}
	defer java.stop()
	client, err := startChild(ctx, log, filepath.Join(peers, "eventstream-python/bin/python"),
		filepath.Join(r.root, "bench/testdata/eventstream_rate.py"), filepath.Join(kit, "client.py"), ourAddress, javaAddress)
	if err != nil {
		return err
	}
	defer client.stop()
	return r.compare(client, out)
}

func (r *serversRun) compare(client *child, out io.Writer) error {
	rates := map[string]*[2][]float64{}
	for round := range r.rounds + 1 {
		for _, mode := range r.modes {
			if rates[mode] == nil {
				rates[mode] = new([2][]float64)
			}
			for turn := range 2 {
				server := (turn + round) % 2
				rate, err := r.rate(client, server, mode)
				if err != nil {
					return fmt.Errorf("%s: %w", mode, err)
				}
				if round > 0 { // the first warms up
					rates[mode][server] = append(rates[mode][server], rate)
				}
			}
		}
	}
	tw := table.NewWriter()
	tw.SetOutputMirror(out)
	tw.AppendHeader(table.Row{"", "ours/s", "Java/s", "ratio"})
	for _, mode := range slices.Compact(slices.Clone(r.modes)) {
		ratios := make([]float64, r.rounds)
		for i := range ratios {
			ratios[i] = rates[mode][0][i] / rates[mode][1][i]
		}
		tw.AppendRow(table.Row{mode, fmt.Sprintf("%.0f", spreadOf(rates[mode][0]).median),
			fmt.Sprintf("%.0f", spreadOf(rates[mode][1]).median), spreadOf(ratios)})
	}
	tw.Render()
	return nil
}

func (r *serversRun) rate(client *child, server int, mode string) (float64, error) {
	if _, err := fmt.Fprintln(client.in, server, mode, r.slice.Seconds()); err != nil {
		return 0, err
	}
	line, err := client.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}
