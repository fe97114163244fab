package endpoint

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// eachWrite keeps what each Write was given.
type eachWrite struct{ writes []string }

func (w *eachWrite) Write(p []byte) (int, error) {
	w.writes = append(w.writes, string(p))
	return len(p), nil
}

// However the bytes come, each Write is a line, or as much of one as is handed on at once.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out eachWrite
		l := &lines{w: &out}
		var all string
		piece := rapid.OneOf(
			rapid.StringMatching(`[ab\n]{0,8}`),
			rapid.Map(rapid.IntRange(maxLine-2, 2*maxLine+2), func(n int) string { return strings.Repeat("x", n) }))
		for _, p := range rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces") {
			n, err := l.Write([]byte(p))
			require.NoError(t, err)
			require.Equal(t, len(p), n)
			all += p
		}
		require.NoError(t, l.flush())
		require.Equal(t, all, strings.Join(out.writes, ""))
		for i, line := range out.writes {
			end := strings.IndexByte(line, '\n')
			switch {
			case len(line) == maxLine, i == len(out.writes)-1 && end < 0:
			default:
				require.Equal(t, len(line)-1, end, "%q", line)
			}
			require.LessOrEqual(t, len(line), maxLine)
		}
	})
}

// A writer and a logger both get the lines, and one that fails does not cost the other any.
func TestStderrWriters(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	for name, test := range map[string]struct {
		writer error
		want   []string
	}{
		"both work":        {nil, []string{"one\n", "two\r\n", "three"}},
		"the writer fails": {errors.New("disk full"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			var out eachWrite
			cmd := exec.Command("/bin/helper")
			cmd.Stderr = io.Writer(&out)
			if test.writer != nil {
				cmd.Stderr = failingWriter{test.writer}
			}
			r, w, err := os.Pipe()
			require.NoError(t, err)
			s := newStderr(r, stderrWriters(cmd, &StartOptions{StderrLog: logger}))
			_, err = w.WriteString("one\ntwo\r\nthree")
			require.NoError(t, err)
			require.NoError(t, w.Close())
			<-s.ended
			s.close()
			require.Equal(t, test.want, out.writes)
			require.Equal(t, "level=INFO msg=one child=helper\nlevel=INFO msg=two child=helper\nlevel=INFO msg=three child=helper\n", log.String())
			require.Equal(t, "one\ntwo\r\nthree", string(s.tail.bytes()))
		})
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
