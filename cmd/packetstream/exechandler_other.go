//go:build !unix

package main

import "os/exec"

// killGroup leaves it at killing the command alone: there are no process groups.
func killGroup(*exec.Cmd) {}
