package endpoint

import "syscall"

// maxMemory is the peak of a process's memory in bytes, as this system counts it.
func maxMemory(ru *syscall.Rusage) int64 { return ru.Maxrss }
