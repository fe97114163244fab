//go:build long && unix

package main

import "testing"

// TestLongForwardDownload is TestForwardDownload with 1 GiB.
func TestLongForwardDownload(t *testing.T) { downloadForwarded(t, 1<<30) }
