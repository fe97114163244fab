//go:build unix && !linux

package eventstream

import "syscall"

// sendNow writes what the socket, which is non-blocking, takes without waiting.
func sendNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }

// recvNow reads what the socket has, or fails with EAGAIN.
func recvNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }
