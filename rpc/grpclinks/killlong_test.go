//go:build long

package grpclinks_test

import "testing"

// TestLongKilledChild kills a thousand children.
func TestLongKilledChild(t *testing.T) { killTimes(t, 1000) }
