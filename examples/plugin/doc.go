// Package plugin is a host and its plugin, which call each other through generated gRPC stubs over the plugin's standard input and output.
// The host kills its plugin and starts another one.
//
//	go build -o bin ./examples/plugin/... && bin/host bin/plugin
package plugin

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative wordspb/words.proto
