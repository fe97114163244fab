package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/packetstream/packetstream/bench/peer"
	"github.com/packetstream/packetstream/bench/report"
)

const (
	// resultsDir is where results are kept, from the repository's root: by scripts/bench.sh in a file for each set.
	resultsDir = ".cache/bench"
	// defaultResults is where a run keeps its results.
	defaultResults = resultsDir + "/results.json"

	fromHelp = "the results, from the repository's root (default: the newest of results.json, quick.json, headline.json and " +
		"full.json in " + resultsDir + ")"
)

// newestResults returns the path of the newest of the files that a run or scripts/bench.sh writes, below the repository's root.
func newestResults(root string) (string, error) {
	var newest string
	var written time.Time
	for _, name := range []string{defaultResults, resultsDir + "/quick.json", resultsDir + "/headline.json", resultsDir + "/full.json"} {
		path := filepath.Join(root, name)
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		case newest == "" || st.ModTime().After(written):
			newest, written = path, st.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("there are no results in %s: run make bench or bench run, or say with --from where they are",
			filepath.Join(root, resultsDir))
	}
	return newest, nil
}

// resultsPath makes a relative path one from the repository's root.
func resultsPath(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	root, err := peer.Root()
	return filepath.Join(root, path), err
}

func save(path string, r *report.Results) error {
	path, err := resultsPath(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// loadResults reads results from a path or, if it is empty, from the newest file, and then says to log which that is.
func loadResults(path string, log io.Writer) (*report.Results, error) {
	newest := path == ""
	if newest {
		root, err := peer.Root()
		if err != nil {
			return nil, err
		}
		if path, err = newestResults(root); err != nil {
			return nil, err
		}
	}
	path, err := resultsPath(path)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(report.Results)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if newest {
		_, err = fmt.Fprintf(log, "results of the set %s, begun %s, in %s\n", r.Set, r.Started.Format("2 January 2006 15:04 MST"), path)
	}
	return r, err
}
