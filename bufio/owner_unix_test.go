//go:build unix

package bufio

import (
	"io"
)

// ownerOf returns the stream behind a raw origin as its owner has it.
func ownerOf(o origin) io.Reader {
	r := o.(*raw)
	if r.file != nil {
		return r.file
	}
	return rawConnReader{r}
}

type rawConnReader struct{ r *raw }

func (c rawConnReader) Read(p []byte) (n int, err error) {
	cerr := c.r.rc.Read(func(fd uintptr) bool {
		n, err = c.r.try(int(fd), p)
		return err == nil
	})
	if cerr != nil {
		err = cerr
	}
	return n, err
}
