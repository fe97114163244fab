//go:build unix

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/packetstream/packetstream/internal/livepeer"
)

// A command on the other side of ssh is called like one here.
func TestLiveCallOverSSH(t *testing.T) {
	livepeer.SSHD(t)
	served := asVariable + "=packetstream " + self(t) + " serve --handler test"
	r := packetstream(t, "check", "--requests=50", "--mode=duplex", "ssh:peer//"+served)
	assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)

	r = packetstream(t, "call", "--type=2", "--payload=hello", "ssh:peer//"+served)
	assert.Equal(t, ran{exitOK, "hello\n", ""}, r)

	r = packetstream(t, "call", "ssh:peer:1//"+served)
	assert.Equal(t, exitLost, r.code)
	assert.Contains(t, r.stderr, "Connection refused")
}
