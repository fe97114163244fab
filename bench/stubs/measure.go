package stubs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/load"
)

// Cell is what is measured: messages of a size, by so many callers at once, each of which waits for its answer. Flood
// is one stream whose sender does not wait.
type Cell struct {
	Name   string
	Size   int
	Calls  int  // unary calls at once
	Stream bool // a message and its answer at a time, on one stream
	Flood  bool
}

// Cells returns the cells, those of the goals.
func Cells() []Cell {
	return []Cell{
		{Name: "unary, 100 B, alone", Size: 100, Calls: 1},
		{Name: "unary, 100 B, 64 at once", Size: 100, Calls: 64},
		{Name: "stream ping-pong, 100 B", Size: 100, Stream: true},
		{Name: "echo stream, 64 KiB", Size: 64 << 10, Flood: true},
	}
}

// FindCells returns the cells whose names contain one of some words, and all for none.
func FindCells(words ...string) ([]Cell, error) {
	if len(words) == 0 {
		return Cells(), nil
	}
	var found []Cell
	for _, cell := range Cells() {
		if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(cell.Name, word) }) {
			found = append(found, cell)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no cell's name contains any of %q", words)
	}
	return found, nil
}

// Sample is one system in one cell in one round.
type Sample struct {
	System string
	Cell   string
	Apart  bool
	Round  int

	Ops    uint64
	Micros float64 // for one call, or one message and its answer
	MBs    float64 // of messages, each way
	Allocs float64 // of both ends, for one
	CPU    float64 // microseconds of both ends, for one
}

// Times are how long to measure, after a warm-up.
type Times struct{ Warm, Time time.Duration }

// Measure measures one system in one cell.
func Measure(ctx context.Context, s System, cell Cell, apart bool, times Times) (Sample, error) {
	sample := Sample{System: s.Name, Cell: cell.Name, Apart: apart}
	runtime.GC() // What the one before has left is not this one's.
	near, far, err := newFiles(s.Socket)
	if err != nil {
		return sample, err
	}
	stop, err := startAnswering(s, far, apart)
	if err != nil {
		return sample, errors.Join(err, near.Close())
	}
	w, err := near.open(s.Socket)
	if err != nil {
		return sample, errors.Join(err, stop())
	}
	c, err := s.dial(w)
	if err != nil {
		return sample, errors.Join(err, stop())
	}
	err = measure(ctx, c, cell, &sample, times)
	return sample, errors.Join(err, c.Close(), stop())
}

// startAnswering answers in this process or in a child.
func startAnswering(s System, far files, apart bool) (stop func() error, err error) {
	if !apart {
		w, err := far.open(s.Socket)
		if err != nil {
			return nil, err
		}
		return s.serve(w)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, AnswererCommand, s.Name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far[0], far[1], os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if err := errors.Join(cmd.Start(), far.Close(), r.Close()); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return func() error { return errors.Join(control.Close(), cmd.Wait()) }, nil
}

// controlFD is a pipe of the child's whose end tells it to stop.
const controlFD = 3

// AnswererCommand is the sub-command that the child is started with, before the system's name.
const AnswererCommand = "stubs-answerer"

// Answer serves a system on standard input and output until they are told to stop, which is when the caller has gone.
func Answer(name string) error {
	found, err := Find(name)
	if err != nil {
		return err
	}
	// Before the files are made, which look at the flag.
	if err := errors.Join(unix.SetNonblock(0, true), unix.SetNonblock(1, true)); err != nil {
		return err
	}
	w, err := files{os.NewFile(0, "stdin"), os.NewFile(1, "stdout")}.open(found[0].Socket)
	if err != nil {
		return err
	}
	stop, err := found[0].serve(w)
	if err != nil {
		return err
	}
	control := os.NewFile(controlFD, "control")
	_, err = io.Copy(io.Discard, control)
	return errors.Join(err, control.Close(), stop())
}

// measure keeps the cell's calls going, and reads what was used while the clock ran.
func measure(ctx context.Context, c client, cell Cell, sample *Sample, times Times) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &callers{client: c, cell: cell}
	l.start(ctx)
	load.Pause(times.Warm)
	begin, err := l.usage(ctx, sample.Apart)
	began := time.Now()
	if err == nil {
		load.Pause(times.Time)
	}
	took := time.Since(began)
	end, endErr := l.usage(ctx, sample.Apart)
	if err := errors.Join(err, endErr, l.end()); err != nil {
		return err
	}
	used := end.Sub(begin)
	if used.Calls == 0 {
		return fmt.Errorf("%s was never answered in %v", cell.Name, took)
	}
	n := float64(used.Calls)
	sample.Ops = used.Calls
	sample.Micros = float64(took.Nanoseconds()) / 1e3 / n
	sample.MBs = n * float64(cell.Size) / 1e6 / took.Seconds()
	sample.Allocs = float64(used.Objects) / n
	sample.CPU = float64(used.CPU.Nanoseconds()) / 1e3 / n
	return nil
}

// callers are the load of a cell.
type callers struct {
	client client
	cell   Cell
	ops    atomic.Uint64
	stop   atomic.Bool
	wg     sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

func (l *callers) start(ctx context.Context) {
	payload := bytes.Repeat([]byte("x"), l.cell.Size)
	run := l.unary
	switch {
	case l.cell.Stream:
		run = l.pingPong
	case l.cell.Flood:
		run = l.flood
	}
	for range max(1, l.cell.Calls) {
		l.wg.Go(func() {
			// A context for each, as for calls that can be cancelled apart.
			own, cancel := context.WithCancel(ctx)
			defer cancel()
			if err := run(own, payload); err != nil {
				l.mu.Lock()
				l.err = errors.Join(l.err, err)
				l.mu.Unlock()
			}
		})
	}
}

// end lets the load come to its end and says what went wrong.
func (l *callers) end() error {
	l.stop.Store(true)
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *callers) unary(ctx context.Context, payload []byte) error {
	for !l.stop.Load() {
		reply, err := l.client.call(ctx, methodEcho, payload)
		if err := l.check(reply, err); err != nil {
			return err
		}
	}
	return nil
}

func (l *callers) check(reply []byte, err error) error {
	if err == nil && len(reply) != l.cell.Size {
		err = fmt.Errorf("an answer of %d bytes to one of %d", len(reply), l.cell.Size)
	}
	if err == nil {
		l.ops.Add(1)
	}
	return err
}

func (l *callers) pingPong(ctx context.Context, payload []byte) error {
	s, err := l.client.stream(ctx)
	if err != nil {
		return err
	}
	for !l.stop.Load() {
		if err := s.send(payload); err != nil {
			return err
		}
		reply, err := s.recv()
		if err := l.check(reply, err); err != nil {
			return err
		}
	}
	return finish(s)
}

// finish closes a stream and reads its end.
func finish(s stream) error {
	if err := s.closeSend(); err != nil {
		return err
	}
	if _, err := s.recv(); err != io.EOF {
		return fmt.Errorf("at the end of a stream: %w", err)
	}
	return nil
}

func (l *callers) flood(ctx context.Context, payload []byte) error {
	s, err := l.client.stream(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends when it is told to stop, or by an error
		for !l.stop.Load() {
			if err := s.send(payload); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.closeSend()
	}()
	for {
		reply, err := s.recv()
		if err == io.EOF {
			return <-sent
		}
		if err := l.check(reply, err); err != nil {
			return errors.Join(err, <-sent)
		}
	}
}

// usage is what both ends have used so far.
func (l *callers) usage(ctx context.Context, apart bool) (load.Usage, error) {
	ours, err := load.ReadUsage()
	if err != nil || !apart {
		ours.Calls = l.ops.Load()
		return ours, err
	}
	var theirs load.Usage
	data, err := l.client.call(ctx, methodUsage, nil)
	if err == nil {
		err = json.Unmarshal(data, &theirs)
	}
	ours.Calls = l.ops.Load()
	ours.Objects += theirs.Objects
	ours.CPU += theirs.CPU
	return ours, err
}
