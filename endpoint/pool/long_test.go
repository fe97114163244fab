//go:build linux && long

package pool_test

import (
	"testing"
	"time"
)

func TestLongKillsUnderLoad(t *testing.T) { killUnderLoad(t, 30*time.Second) }
