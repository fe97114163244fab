//go:build !unix

package main

import "errors"

// stdio is not to be had where reads of standard input cannot be ended.
func stdio() (pipes, error) {
	return pipes{}, errors.New("--stdio is not supported on this system")
}
