//go:build dragonfly || freebsd || netbsd || openbsd

package endpoint

import "syscall"

// maxMemory is the peak of a process's memory in bytes, which these systems count in KiB.
func maxMemory(ru *syscall.Rusage) int64 { return int64(ru.Maxrss) << 10 }
