// Command host starts a plugin, asks it, answers what it asks, and starts another one when it has died.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"syscall"

	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/examples/plugin/wordspb"
	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

type dictionary struct {
	wordspb.UnimplementedDictionaryServer
}

func (dictionary) LookUp(_ context.Context, word *wordspb.Word) (*wordspb.Meaning, error) {
	return &wordspb.Meaning{Text: "that which has two ends, like any " + word.GetText()}, nil
}

// start starts the plugin, serves it, and returns what calls it.
func start(ctx context.Context, path string) (*endpoint.Child, wordspb.ExplainerClient) {
	packets := links.NewPackets(links.PacketChannel)
	opts := pconn.Options{Channels: map[uint64]pconn.Handler{links.PacketChannel: packets}}
	child, err := endpoint.Start(ctx, exec.Command(path), &endpoint.StartOptions{Conn: opts})
	if err != nil {
		log.Fatal(err)
	}
	packets.Bind(child.Conn)
	conn, err := links.NewConn(packets, &links.ConnOptions{Unordered: true})
	if err != nil {
		log.Fatal(err)
	}
	calls, serves := links.Split(conn)
	server := grpclinks.NewServer(nil)
	wordspb.RegisterDictionaryServer(server, dictionary{})
	go server.Serve(serves)
	return child, wordspb.NewExplainerClient(grpclinks.NewClientConn(calls, nil))
}

func main() {
	ctx, word := context.Background(), &wordspb.Word{Text: "pipe"}
	for range 2 {
		child, explainer := start(ctx, os.Args[1])
		meaning, err := explainer.Explain(ctx, word)
		fmt.Println(meaning.GetText(), err)
		_ = child.Signal(syscall.SIGKILL) // it is dead or dies
		_, err = explainer.Explain(ctx, word)
		fmt.Println(status.Code(err))
		_ = child.Close() // how it ended was said
	}
}
