package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// newHandler returns the handler that --handler names.
func newHandler(cmd *cobra.Command, name string) (pconn.Handler, error) {
	switch name {
	case "echo":
		return pconn.HandlerFunc(echo), nil
	case "test":
		return testservice.New(version()), nil
	}
	if command, runs := execCommand(name); runs {
		return execHandler(command), nil
	}
	return nil, usagef(cmd, "--handler is echo, test or exec:CMD, not %q", name)
}

func echo(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	if req.Flags > maxReplyFlags {
		return pconn.Reply{}, pconn.Errorf("flags %#x do not fit in an answer", req.Flags)
	}
	return pconn.FlagsBytes(req.Flags, req.Payload).WithMetadata(req.Metadata), nil
}

// execCommand returns the command of exec:CMD.
func execCommand(name string) (command string, runs bool) {
	command, runs = strings.CutPrefix(name, "exec:")
	return command, runs && strings.TrimSpace(command) != ""
}
