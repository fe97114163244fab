package prpc_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// serveVariable makes a process of this program a server, until its input ends.
const serveVariable = "PRPC_TEST_SERVE"

// What such a process serves.
const (
	serveBareEcho = "bare echo"
	serveServices = "services"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(serveVariable); what != "" {
		if err := serveAlone(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serveAlone serves and prints the address.
func serveAlone(what string) error {
	var handler http.Handler = bareEcho()
	if what == serveServices {
		methods, err := prpctest.Services()
		if err != nil {
			return err
		}
		handler = prpc.NewServer(&prpc.Options{Methods: methods, ReadTimeout: time.Second})
	}
	fmt.Println(wsURL(httptest.NewServer(handler)))
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts a process that serves, and returns its address.
func startServer(t testing.TB, what string) (url string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveVariable+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(url)
}
