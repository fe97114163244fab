package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// newProfileCommand profiles both ends of one peer in one cell.
func newProfileCommand() *cobra.Command {
	var name, cell, dir string
	var seconds time.Duration
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Write CPU, block, mutex and allocation profiles of both ends of a peer",
		Example: `  bench profile --peer packetstream --cell 16x64 --dir /tmp/profiles
  go tool pprof -top /tmp/profiles/caller.cpu`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := peer.Find(name); err != nil {
				return err
			}
			c, err := parseCell(cell)
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			times := load.Times{Warm: seconds / 10, Time: seconds, Most: seconds}
			s := measureApart(cmd.Context(), &spec{Peer: name, Cell: c, Times: times, Profile: dir})
			if s.Err != "" {
				return errors.New(s.Err)
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		},
	}
	cmd.Flags().StringVar(&name, "peer", peer.Default, "which peer")
	cmd.Flags().StringVar(&cell, "cell", "16x64", "bytes x calls in flight, as in 16x64, 65536x1, 16x64both, or 16x64over8 connections")
	cmd.Flags().StringVar(&dir, "dir", "profiles", "where the profiles are written")
	cmd.Flags().DurationVar(&seconds, "time", 3*time.Second, "for how long")
	return cmd
}

// parseCell reads a cell as --cell has it.
func parseCell(text string) (peer.Cell, error) {
	var c peer.Cell
	var rest string
	n, _ := fmt.Sscanf(text, "%dx%d%s", &c.Size, &c.InFlight, &rest)
	_, _ = fmt.Sscanf(rest, "over%d", &c.Conns)
	c.Both = rest == "both"
	known := rest == "" || c.Both || c.Conns > 0 && rest == fmt.Sprint("over", c.Conns)
	if n < 2 || !known || c.Size < 8 || c.InFlight < 1 {
		return c, fmt.Errorf("%q is no cell; write 16x64, 16x64both or 16x64over8, with at least 8 bytes", text)
	}
	return c, nil
}

// profileRate is after how many nanoseconds of waiting, on average, a wait is in the block profile.
const profileRate = 1000

// startProfiles starts the profiles of this process if dir is set. stop writes them.
func startProfiles(dir, end string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(dir, end+".cpu"))
	if err != nil {
		return nil, err
	}
	runtime.SetBlockProfileRate(profileRate)
	runtime.SetMutexProfileFraction(10)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		err := cpu.Close()
		for _, name := range []string{"block", "mutex", "allocs"} {
			f, ferr := os.Create(filepath.Join(dir, end+"."+name))
			if ferr != nil {
				return errors.Join(err, ferr)
			}
			err = errors.Join(err, pprof.Lookup(name).WriteTo(f, 0), f.Close())
		}
		return err
	}, nil
}
