//go:build unix

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// pythonChild has the test binary serve, on its standard input and output, what clients/python/testdata/drive.py asks for.
const pythonChild = "python"

// Request types beyond those of the test service, as clients/python/testdata/service.py has them.
const (
	typeError          = 20 + iota // fails with code 7, the payload as text, and details
	typeMetadata                   // answers the request's metadata as metadata, and its payload
	typeDeadline                   // answers the milliseconds left as text
	typeUntilCancelled             // waits until it is cancelled
	typeCancels                    // answers the cancellations that were seen, as JSON
	typeStatus                     // answers JSON about the process
	typePrint                      // prints the payload
	typeGoAway                     // says go-away with code 3
	typeBegun                      // answers how many typeUntilCancelled have begun, as text
)

// cancellation is one answer to typeCancels.
type cancellation struct {
	Code     uint64 `json:"code"`
	Text     string `json:"text"`
	Deadline bool   `json:"deadline"`
}

// extendedService is the test service and the types that need extensions.
type extendedService struct {
	plain *testservice.Service

	mu      sync.Mutex // guards the rest
	begun   int
	cancels []cancellation
}

func servePython() error {
	s := &extendedService{plain: testservice.New("")}
	return endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: s, StreamHandler: streamService()})
}

func (s *extendedService) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	switch req.Type {
	case typeError:
		return pconn.Reply{}, pconn.NewError(7, string(req.Payload),
			pconn.Field{Key: "first", Value: []byte("1")}, pconn.Field{Key: "second", Value: []byte("\x00\xff")})
	case typeMetadata:
		return pconn.FlagsBytes(req.Flags, req.Payload).WithMetadata(req.Metadata), nil
	case typeDeadline:
		deadline, ok := ctx.Deadline()
		if !ok {
			return pconn.Text("none"), nil
		}
		return pconn.Text(strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)), nil
	case typeUntilCancelled:
		s.mu.Lock()
		s.begun++
		s.mu.Unlock()
		<-ctx.Done()
		var cause *pconn.CancelError
		if !errors.As(context.Cause(ctx), &cause) {
			return pconn.Reply{}, errors.New("not cancelled by the caller")
		}
		s.mu.Lock()
		s.cancels = append(s.cancels, cancellation{cause.Code, cause.Text, cause.Deadline})
		s.mu.Unlock()
		return pconn.None(), ctx.Err()
	case typeBegun:
		s.mu.Lock()
		defer s.mu.Unlock()
		return pconn.Text(strconv.Itoa(s.begun)), nil
	case typeCancels:
		s.mu.Lock()
		defer s.mu.Unlock()
		text, err := json.Marshal(s.cancels)
		return pconn.Bytes(text), err
	}
	return s.plain.ServePacket(ctx, req)
}

// streamService has the streams of service.py.
func streamService() *pconn.StreamMux {
	streams := pconn.NewStreamMux()
	streams.HandleFunc("echo", func(_ context.Context, s *pconn.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	streams.HandleFunc("slow", func(_ context.Context, s *pconn.Stream) error {
		total, buf := 0, make([]byte, 8192)
		for {
			n, err := s.Read(buf)
			total += n
			if err == io.EOF {
				_, err = fmt.Fprint(s, total)
				return err
			}
			if err != nil {
				return err
			}
			time.Sleep(500 * time.Microsecond) // it is what makes it slow
		}
	})
	streams.HandleFunc("source", func(_ context.Context, s *pconn.Stream) error {
		size, err := strconv.Atoi(s.Metadata().Text("size"))
		if err == nil {
			_, err = s.Write(testservice.HugeBytes(size))
		}
		return err
	})
	streams.HandleFunc("stop", func(_ context.Context, s *pconn.Stream) error {
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			return err
		}
		if err := s.CloseRead(); err != nil {
			return err
		}
		_, err := io.WriteString(s, "still")
		return err
	})
	streams.HandleFunc("reset", func(_ context.Context, s *pconn.Stream) error {
		_, err := io.ReadFull(s, make([]byte, 1))
		s.Reset(5)
		return err
	})
	streams.HandleFunc("messages", func(ctx context.Context, s *pconn.Stream) error {
		m := s.Messages(0)
		for message, err := range m.All(ctx) {
			if err == nil {
				err = m.Send(ctx, append(message, '!'))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return streams
}
