package mushroom_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

// startChild runs a copy of this program until the test's end and returns the line it says when it is
// ready. Measurements need the other end in a process of its own.
func startChild(t testing.TB, do string) (ready string) {
	t.Helper()
	return childtest.StartServer(t, childtest.Command(do))
}

// runChild does what startChild was asked for, reports that it is ready, and ends with its standard input.
func runChild(do string) (status int) {
	words := strings.Fields(do)
	ready, err := map[string]func([]string) (string, error){
		"serve": childServe, "sockets": childSockets, "polls": childPolls, "waiting": childWaiting,
	}[words[0]](words[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", do, err)
		return 1
	}
	fmt.Println(ready)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// childServe runs the test service.
func childServe([]string) (string, error) {
	_, server, err := mushroomtest.New(nil, mushroom.ServerOptions{})
	if err != nil {
		return "", err
	}
	return httptest.NewServer(server).URL + "/", nil
}

// childSockets opens websocket sessions and leaves them idle.
func childSockets(args []string) (string, error) {
	return "ready", eachSession(args, mushroom.TransportWS, func(address *url.URL) error {
		conn, err := net.Dial("tcp", address.Host)
		if err != nil {
			return err
		}
		kept = append(kept, conn)
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n", address.Path, address.Host)
		if err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && response.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(response.Status)
		}
		return err
	})
}

// childPolls opens poll sessions, polls each once for the answer to a request, and stays away.
func childPolls(args []string) (string, error) {
	return "ready", eachSession(args, mushroom.TransportPoll, func(address *url.URL) error {
		_, err := childPost(address.String(), `[[0,null],[2,0,"echo","x"]]`)
		if err == nil {
			_, err = childPost(address.String(), `[[1,1,"note",1]]`)
		}
		return err
	})
}

// childWaiting opens poll sessions and polls.
func childWaiting(args []string) (string, error) {
	return "ready", eachSession(args, mushroom.TransportPoll, func(address *url.URL) error {
		conn, err := net.Dial("tcp", address.Host)
		if err != nil {
			return err
		}
		kept = append(kept, conn)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\n[[0,null]]", address.Path, address.Host)
		return err
	})
}

var kept []net.Conn // by the child, until it ends

// eachSession begins args[1] sessions at args[0].
func eachSession(args []string, transport string, then func(*url.URL) error) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range count {
		text, err := childPost(args[0], `{"transports":["`+transport+`"]}`)
		if err != nil {
			return err
		}
		var w struct{ URL string }
		if err := json.Unmarshal(text, &w); err != nil {
			return err
		}
		address, err := url.Parse(w.URL)
		if err != nil {
			return err
		}
		if err := then(address); err != nil {
			return err
		}
	}
	return nil
}

func childPost(address, body string) ([]byte, error) {
	response, err := http.Post(address, "text/plain", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return text, err
}
