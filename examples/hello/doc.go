// Package hello is two programs that greet each other: host starts helper, asks it, and is asked by it.
//
//	go build -o bin ./examples/hello/... && bin/host bin/helper
package hello
