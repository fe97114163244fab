//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// What the helper's handler answers.
const (
	typeEcho    = 0
	typeBack    = 1  // echoes what the peer answers to the same payload
	typePrint   = 2  // prints to standard output, and to descriptor 1
	typeExit    = 3  // exits with the flags as its status, without an answer
	typeStderr  = 4  // writes the payload to standard error
	typeHang    = 5  // never answers
	typeInspect = 6  // describes the process's descriptors
	typeShut    = 7  // closes its output, and nothing else
	typeEnv     = 8  // tells an environment variable
	typeWriteFD = 9  // writes the payload to the descriptor that the flags are, and closes it
	typePeer    = 10 // tells what is known of the peer
	typeBurn    = 11 // uses burnTime and burnMemory up
)

const (
	burnTime   = 50 * time.Millisecond
	burnMemory = 32 << 20
)

const (
	statusTerminal = 10
	statusNoStream = 11
	statusStdio    = 12
)

func helperMux(closeOutput func()) *pconn.Mux {
	mux := pconn.NewMux()
	mux.HandleFunc(typeEcho, echo)
	mux.HandleFunc(typeBack, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		resp, err := req.Conn.Do(ctx, pconn.Request{Payload: req.Payload})
		return pconn.Bytes(resp.Payload), err
	})
	mux.HandleFunc(typePrint, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		_, err := fmt.Println("a stray print")
		_, err2 := unix.Write(1, []byte("and another\n"))
		n, err3 := os.Stdin.Read(make([]byte, 1))
		return pconn.Text(fmt.Sprint(err, err2, n, err3)), nil
	})
	mux.HandleFunc(typeExit, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		os.Stderr.Write(req.Payload)
		os.Exit(int(req.Flags))
		return pconn.None(), nil
	})
	mux.HandleFunc(typeStderr, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		_, err := os.Stderr.Write(req.Payload)
		return pconn.None(), err
	})
	mux.HandleFunc(typeHang, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		<-ctx.Done()
		return pconn.None(), ctx.Err()
	})
	mux.HandleFunc(typeInspect, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(fmt.Sprintf("pid %d pgid %d", os.Getpid(), unix.Getpgrp())), nil
	})
	mux.HandleFunc(typeShut, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		closeOutput()
		return pconn.None(), nil
	})
	mux.HandleFunc(typeEnv, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(os.Getenv(string(req.Payload))), nil
	})
	mux.HandleFunc(typeWriteFD, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		_, err := unix.Write(int(req.Flags), req.Payload)
		return pconn.None(), errors.Join(err, unix.Close(int(req.Flags)))
	})
	mux.HandleFunc(typePeer, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(fmt.Sprintf("pid %d uid %d", req.Peer().PID, req.Peer().UID)), nil
	})
	mux.HandleFunc(typeBurn, func(context.Context, *pconn.Request) (pconn.Reply, error) {
		burn()
		return pconn.None(), nil
	})
	return mux
}

func burn() {
	mem := make([]byte, burnMemory)
	used := func() time.Duration {
		var ru unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &ru) // it cannot fail
		return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	for used() < burnTime {
		for i := range mem {
			mem[i]++
		}
	}
}

func echo(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	return pconn.FlagsBytes(req.Flags, req.Payload), nil
}

// helper is the child of a test. It returns its exit status.
func helper(mode string, args []string) int {
	switch mode {
	case "serve":
		return report(endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: helperMux(closeOutputs)}))
	case "serve endpoint":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		return report(endpoint.Serve(ctx, args[0], &pconn.Options{Handler: helperMux(closeOutputs)}))
	case "say hello":
		return report(sayHello(args[0]))
	case "host":
		return report(host(args))
	case "descriptors":
		return report(describeDescriptors(args))
	case "exit":
		fmt.Fprintln(os.Stderr, "exiting at once")
		n, _ := strconv.Atoi(args[0])
		return n
	case "text":
		fmt.Println("Welcome to the machine")
		io.Copy(io.Discard, os.Stdin)
		return 0
	case "deaf", "deaf and stubborn":
		if mode == "deaf and stubborn" {
			signal.Ignore(syscall.SIGTERM)
		}
		serveIgnoringEOF()
	case "grandchild":
		return report(leaveGrandchild(args))
	case "goodbye":
		return report(sayGoodbye(args))
	case "ask and exit":
		return report(askAndExit())
	case "ping-pong":
		return report(pingPong())
	case "sleep":
		time.Sleep(time.Minute)
	case "many":
		return report(manyChildren(args))
	case "ask at terminal":
		return report(askAtTerminal())
	case "terminal host":
		return report(terminalHost(args))
	case "parent":
		return report(parentOf(args))
	case "death signal":
		return report(serveDeathSignal())
	case "signals":
		return report(serveUntilSignalled())
	case "at the limit":
		return report(startAtTheLimit())
	case "greeting":
		return report(serveWithGreeting(args))
	case "files":
		return report(endpoint.ServeStdio(context.Background(), &pconn.Options{MaxFiles: 4, Handler: pconn.HandlerFunc(swapFiles)}))
	case "other group":
		return report(joinOtherGroup())
	}
	fmt.Fprintln(os.Stderr, "no such helper:", mode)
	return 99
}

// report says an error, and by the exit status which one it is.
func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "helper:", err)
	var stdio *endpoint.StdioError
	switch {
	case errors.Is(err, endpoint.ErrTerminal):
		return statusTerminal
	case errors.Is(err, endpoint.ErrNoStream):
		return statusNoStream
	case errors.As(err, &stdio):
		return statusStdio
	}
	return 1
}

// serveIgnoringEOF serves, and stays when its input has ended.
func serveIgnoringEOF() {
	_ = endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: helperMux(closeOutputs)})
	time.Sleep(time.Minute)
}

// closeOutputs closes every descriptor that this process can write packets to.
func closeOutputs() {
	names, _ := os.ReadDir("/proc/self/fd")
	for _, name := range names {
		fd, _ := strconv.Atoi(name.Name())
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE != unix.O_WRONLY || fd <= 2 {
			continue
		}
		null, _ := unix.Open("/dev/null", unix.O_WRONLY, 0)
		_ = unix.Dup3(null, fd, 0)
	}
}

// sayHello prints what an endpoint echoes.
func sayHello(at string) error {
	conn, err := endpoint.Dial(context.Background(), at, nil)
	if err != nil {
		return err
	}
	resp, err := conn.Do(context.Background(), pconn.Request{Payload: []byte("hello")})
	fmt.Print(string(resp.Payload))
	return errors.Join(err, conn.Close())
}

// host starts a child of its own, whatever its own descriptors are.
func host(args []string) error {
	for _, arg := range args {
		if arg == "close" {
			os.Stdin.Close()
			os.Stdout.Close()
		}
	}
	child, err := endpoint.Start(context.Background(), childtest.Command("serve"), nil)
	if err != nil {
		return err
	}
	resp, err := child.Do(context.Background(), pconn.Request{Payload: []byte("x")})
	if err == nil && string(resp.Payload) != "x" {
		err = fmt.Errorf("wrong answer %q", resp.Payload)
	}
	return errors.Join(err, child.Close())
}

// leaveGrandchild starts a process that holds the pipes, says its number on standard error, and exits.
func leaveGrandchild(args []string) error {
	cmd := childtest.Command("sleep")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if args[0] == "session" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(os.Stderr, "grandchild %d\n", cmd.Process.Pid)
	return err
}

// sayGoodbye ends the connection in good order as soon as it is asked for something, which it does not answer,
// and exits with a status.
func sayGoodbye(args []string) error {
	asked := make(chan struct{})
	conn, err := endpoint.Stdio{}.Dial(context.Background(), &pconn.Options{
		CloseTimeout: 50 * time.Millisecond,
		Handler: pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
			close(asked)
			select {}
		})})
	if err != nil {
		return err
	}
	<-asked
	conn.Close()
	fmt.Fprintln(os.Stderr, "goodbye")
	n, _ := strconv.Atoi(args[0])
	os.Exit(n)
	return nil
}

// askAndExit asks something, and does not wait for the answer.
func askAndExit() error {
	conn, err := endpoint.Stdio{}.Dial(context.Background(), nil)
	if err != nil {
		return err
	}
	if _, err := conn.Submit(context.Background(), pconn.Request{Payload: []byte("x")}); err != nil {
		return err
	}
	for conn.Counters().PacketsOut.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	os.Exit(0)
	return nil
}

// pingPong sends back what it gets, without packets.
func pingPong() error {
	buf := make([]byte, pingSize)
	// As the host's, its descriptors wait in the poller.
	for _, fd := range []int{0, 1} {
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
	}
	in, out := os.NewFile(0, "in"), os.NewFile(1, "out")
	for {
		if _, err := io.ReadFull(in, buf); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if _, err := out.Write(buf); err != nil {
			return err
		}
	}
}
