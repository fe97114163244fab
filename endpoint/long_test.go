//go:build linux && long

package endpoint_test

import "testing"

func TestLongThousandChildren(t *testing.T) { startAndStop(t, 1000) }
