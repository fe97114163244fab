package endpoint

import (
	"runtime"
	"sync"
)

// parent is the thread that starts this process's children. The system sends a child its parent-death signal when the
// thread ends that started it, not the process, so that this must be a thread which stays. It belongs to the children:
// it is there as long as there is one that it has started, and the last to be waited for ends it and waits for it. It is
// one for the whole process, as a thread for each child would cost too much.
var parent = &parentThread{}

type parentThread struct {
	// mu guards what follows, and is held while the goroutine is started or waited for.
	mu       sync.Mutex
	children int
	work     chan func()
	ended    chan struct{}
}

// do runs f on the thread and waits for it. The thread stays until the func that it returns has been called.
func (t *parentThread) do(f func()) (giveBack func()) {
	work := t.take()
	done := make(chan struct{})
	work <- func() {
		defer close(done)
		f()
	}
	<-done
	return t.giveBack
}

func (t *parentThread) take() chan<- func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.children++
	if t.children == 1 {
		t.work, t.ended = make(chan func()), make(chan struct{})
		go t.run(t.work, t.ended)
	}
	return t.work
}

func (t *parentThread) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.children--
	if t.children == 0 {
		close(t.work)
		<-t.ended
	}
}

func (t *parentThread) run(work <-chan func(), ended chan<- struct{}) {
	runtime.LockOSThread()
	defer close(ended)
	defer runtime.UnlockOSThread()
	for f := range work {
		f()
	}
}
