package main

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepTo keeps this process to the n-th processor that it may use. Threads that it starts from now on inherit that.
func keepTo(n int) error {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return err
	}
	n %= may.Count()
	cpu := 0
	for ; n > 0 || !may.IsSet(cpu); cpu++ {
		if may.IsSet(cpu) {
			n--
		}
	}
	var one unix.CPUSet
	one.Set(cpu)
	runtime.GOMAXPROCS(1)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		// A thread may have ended since.
		if err := unix.SchedSetaffinity(tid, &one); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
