package bufio_test

import (
	"fmt"
	"io"
	"slices"

	"github.com/packetstream/packetstream/bufio"
)

// One connection after another reads from the same Input: what the first read ahead is there for the second.
func ExampleInput() {
	in := bufio.InputChunks(slices.Values([][]byte{[]byte("first|sec"), []byte("ond|")}))
	defer in.Close()
	b, _ := in.Peek(1)
	fmt.Printf("%s\n", b)
	first, _ := in.Take(5)
	in.Skip(1)
	second := make([]byte, 6)
	err := in.ReadFull(second)
	fmt.Printf("%s %s %d %v\n", first, second, in.Offset(), err)
	_, err = in.Take(100)
	rest, _ := in.Rest(100)
	fmt.Printf("%v, and nothing lost: %s\n", err, rest)
	// Output:
	// first|sec
	// first second 12 <nil>
	// unexpected EOF, and nothing lost: |
}

// A packet whose caller goes away is taken out, if none of it was written.
func ExampleBatch() {
	in, out := bufio.Pipe(0)
	var batch bufio.Batch
	batch.End(append(batch.Begin(), "small, "...))
	gone := batch.EndRef(append(batch.Begin(), "header of "...), []byte("one that nobody waits for"))
	batch.EndRef(append(batch.Begin(), "header, "...), []byte("large"))
	fmt.Println(batch.Unlink(gone))
	fmt.Println(out.Write(&batch, false))
	out.Close()
	all, _ := io.ReadAll(in)
	fmt.Printf("%s\n", all)
	// Output:
	// true
	// <nil>
	// small, header, large
}

func ExampleBacklog() {
	b, _ := bufio.NewBacklog(bufio.BacklogOptions{Memory: 4, Disk: 8})
	defer b.Close()
	_, err := b.Write([]byte("in memory"))
	fmt.Println(err)
	_, err = b.Write([]byte("and more"))
	fmt.Println(err)
	b.CloseWrite()
	all, err := io.ReadAll(b)
	fmt.Printf("%s %v\n", all, err)
	// Output:
	// <nil>
	// bufio: backlog is full
	// in memory <nil>
}
