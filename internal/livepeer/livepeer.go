// Package livepeer finds the programs of other languages that live tests run against.
//
// The scripts in scripts/peers make them in .cache/peers of the module; docs/PEERS.md lists them. A
// test whose peer is not there is skipped with a message that the closing summary of make test
// collects, and that fails the run in CI where the peer is not allowed to be absent.
package livepeer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Dir returns the directory of the peer called name, or skips the test. The environment variable
// PACKETSTREAM_PEERS names another place for all of them than .cache/peers.
func Dir(t testing.TB, name string) string {
	t.Helper()
	dir, err := find(name)
	if err != nil {
		t.Skipf("live peer absent: %s: %v", name, err)
	}
	return dir
}

// Python returns the interpreter of the peer called name, which is a Python environment, or skips the test.
func Python(t testing.TB, name string) string {
	t.Helper()
	python := filepath.Join(Dir(t, name), "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skipf("live peer absent: %s: it has no bin/python", name)
	}
	return python
}

func find(name string) (string, error) {
	peers := os.Getenv("PACKETSTREAM_PEERS")
	if peers == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		peers = filepath.Join(root, ".cache", "peers")
	}
	dir, err := filepath.Abs(filepath.Join(peers, name))
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir, nil
	}
	if why, err := os.ReadFile(dir + ".absent"); err == nil {
		return "", errors.New(strings.TrimSpace(string(why)))
	}
	return "", errors.New("not made yet: make test makes it, or a script in scripts/peers")
}

// moduleRoot is the nearest directory with a go.mod, from the test's own directory upwards.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above %s", start)
		}
	}
}
