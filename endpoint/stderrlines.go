package endpoint

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
)

// stderrWriters returns whom a child's standard error is handed to.
func stderrWriters(cmd *exec.Cmd, opts *StartOptions) []io.Writer {
	var to []io.Writer
	if cmd.Stderr != nil && cmd.Stderr != io.Discard {
		to = append(to, &lines{w: cmd.Stderr})
	}
	if opts.StderrLog != nil {
		to = append(to, &lines{w: lineLogger{opts.StderrLog.With("child", filepath.Base(cmd.Path))}})
	}
	if to == nil && cmd.Stderr == nil {
		to = append(to, ownStderr{})
	}
	return to
}

// lines hands on what is written to it a line at a time: each Write of w's is a line with its end, but for one that is
// longer than maxLine, or the last.
type lines struct {
	w       io.Writer
	partial []byte
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		whole := end > 0
		if !whole {
			end = len(p)
		}
		end = min(end, maxLine-len(l.partial))
		whole = whole || end == maxLine
		if whole && len(l.partial) == 0 {
			if _, err := l.w.Write(p[:end]); err != nil {
				return n - len(p), err
			}
			p = p[end:]
			continue
		}
		l.partial = append(l.partial, p[:end]...)
		whole = whole && p[end-1] == '\n' || len(l.partial) == maxLine
		p = p[end:]
		if !whole {
			continue
		}
		if err := l.flush(); err != nil {
			return n - len(p), err
		}
	}
	return n, nil
}

// flush hands on what there is of a line.
func (l *lines) flush() error {
	if len(l.partial) == 0 {
		return nil
	}
	_, err := l.w.Write(l.partial)
	l.partial = l.partial[:0]
	return err
}

// lineLogger logs each line that is written to it.
type lineLogger struct{ log *slog.Logger }

func (l lineLogger) Write(line []byte) (int, error) {
	l.log.Log(context.Background(), slog.LevelInfo, string(bytes.TrimRight(line, "\r\n")))
	return len(line), nil
}
