//go:build long

package eventstream_test

import (
	"testing"
	"testing/synctest"
)

// TestLongDamage cuts every captured session off at every byte and flips its every bit.
func TestLongDamage(t *testing.T) {
	for _, s := range readVectors(t).Sessions {
		t.Run(s.Name, func(t *testing.T) {
			for dir, end := range map[string]endsIn{"c2s": serverEndsIn, "s2c": clientEndsIn("connect")} {
				whole := session(t, s.Name, dir)
				t.Run(dir, func(t *testing.T) {
					for n := range whole {
						synctest.Test(t, func(t *testing.T) { _ = end(t, whole[:n], true) })
					}
					checkMendedBitFlips(t, whole, end)
				})
			}
		})
	}
}
