//go:build long

package mushroom_test

import (
	"testing"
	"time"
)

// TestLongLossyProxy is TestLossyProxy for a minute.
func TestLongLossyProxy(t *testing.T) { throughLossyProxy(t, time.Minute) }
