package endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
)

// ChecksumError says that a program's file is not the one that was meant.
type ChecksumError struct {
	Command   string
	Want, Got string // SHA-256, in hexadecimal
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("endpoint: %s has SHA-256 %s, not %s; it was not started", e.Command, e.Got, e.Want)
}

// checkSum compares a file with its SHA-256.
func checkSum(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("endpoint: checksum: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("endpoint: checksum of %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.ToLower(want) {
		return &ChecksumError{Command: path, Want: want, Got: got}
	}
	return nil
}
