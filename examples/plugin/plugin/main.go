// Command plugin explains words to its host, which it asks for their meaning.
package main

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc/reflection"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/examples/plugin/wordspb"
	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

type explainer struct {
	wordspb.UnimplementedExplainerServer
	dictionary wordspb.DictionaryClient
}

func (e explainer) Explain(ctx context.Context, word *wordspb.Word) (*wordspb.Meaning, error) {
	fmt.Println("asked for", word.GetText()) // standard output is free: it goes to standard error
	meaning, err := e.dictionary.LookUp(ctx, word)
	if err != nil {
		return nil, err
	}
	return &wordspb.Meaning{Text: fmt.Sprintf("A %s is %s.", word.GetText(), meaning.GetText())}, nil
}

func main() {
	packets := links.NewPackets(links.PacketChannel)
	conn, err := links.NewConn(packets, &links.ConnOptions{Side: 1, Unordered: true})
	if err != nil {
		log.Fatal(err)
	}
	calls, serves := links.Split(conn)
	server := grpclinks.NewServer(nil)
	wordspb.RegisterExplainerServer(server, explainer{dictionary: wordspb.NewDictionaryClient(grpclinks.NewClientConn(calls, nil))})
	reflection.Register(server)
	go server.Serve(serves)
	opts := &pconn.Options{Channels: map[uint64]pconn.Handler{links.PacketChannel: packets}}
	if err := endpoint.ServeStdio(context.Background(), opts); err != nil {
		log.Fatal(err)
	}
}
