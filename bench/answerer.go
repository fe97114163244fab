package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// newAnswererCommand is the process that answers, on its standard input and output and further descriptors.
func newAnswererCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "answerer SPEC",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, p, err := parseSpec(args[0])
			if err != nil {
				return err
			}
			// A caller that has gone is the end of every measurement; it would end this process, since
			// descriptor 1 is written to.
			signal.Ignore(syscall.SIGPIPE)
			return answer(s, p)
		},
	}
}

func answer(s *spec, p *peer.Peer) error {
	if p.Python != nil {
		return answerReference(p, s.Cell)
	}
	controlR, errR := inherited(controlFD, false)
	controlW, errW := inherited(controlFD+1, false)
	if err := errors.Join(errR, errW); err != nil {
		return err
	}
	conns := make([]peer.Conn, s.conns())
	for i := range conns {
		var err error
		if conns[i], err = openAnswering(i, s, p); err != nil {
			return err
		}
	}
	stop, err := startProfiles(s.Profile, "answerer")
	if err != nil {
		return err
	}
	var calls *load.Load
	err = load.Answer(controlR, controlW, func() *load.Load {
		calls = load.Start(conns, s.Cell)
		calls.Time()
		return calls
	})
	return errors.Join(err, stop())
}

// openAnswering opens the answering end of a connection: the first is standard input and output.
func openAnswering(i int, s *spec, p *peer.Peer) (peer.Conn, error) {
	r, w := 0, 1
	if i > 0 {
		r, w = furtherFD+2*(i-1), furtherFD+2*(i-1)+1
	} else if p.OpenStdio != nil {
		return p.OpenStdio(s.Cell)
	}
	in, errR := inherited(r, p.Blocking)
	out, errW := inherited(w, p.Blocking)
	if err := errors.Join(errR, errW); err != nil {
		return nil, err
	}
	return p.Open(peer.Answerer, in, out, s.Cell)
}

// answerReference answers the reference, which has no control, until it kills this process or ends.
func answerReference(p *peer.Peer, cell peer.Cell) error {
	if p.Python.Apart {
		if err := keepTo(peer.AnswererProcessor); err != nil {
			return err
		}
	}
	conn, err := p.OpenStdio(cell)
	if err != nil {
		return err
	}
	if w, ok := conn.(interface{ Wait() error }); ok {
		return w.Wait()
	}
	return os.ErrInvalid
}
