package prpc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// What a copy of this program serves as a child, until its input ends.
const (
	serveBareEcho = "bare echo"
	serveServices = "services"
	serveStdio    = "services on standard input and output"
)

func TestMain(m *testing.M) {
	if what := childtest.Mode(); what != "" {
		if err := serveAlone(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serveAlone serves and, if that is at an address, prints it.
func serveAlone(what string) error {
	methods, err := prpctest.Services()
	if err != nil {
		return err
	}
	var handler http.Handler
	switch what {
	case serveStdio:
		c, err := prpc.Accept(context.Background(), prpc.NewByteStream(childtest.Stdio(), 0), &prpc.Options{Methods: methods})
		if err == nil {
			c.Wait()
		}
		return err
	case serveServices:
		handler = prpc.NewServer(&prpc.Options{Methods: methods, ReadTimeout: time.Second})
	case serveBareEcho:
		handler = bareEcho()
	}
	fmt.Println(wsURL(httptest.NewServer(handler)))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts a process that serves, and returns its address.
func startServer(t testing.TB, what string) (url string) {
	t.Helper()
	return childtest.StartServer(t, childtest.Command(what))
}
