package rekindle

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// host carries calls of the host's functions from the thread that C has called on to the goroutine that waits for C.
type host struct {
	asked chan func()
	// over is closed when nobody answers any more: the waiting goroutine is leaving, by its own will or not.
	over chan struct{}
}

// ask lets the waiting goroutine run a function, and gives what that returns; 1, which ends a call, if it is leaving.
func (h *host) ask(f func() int32) int32 {
	answer := make(chan int32, 1)
	select {
	case h.asked <- func() { answer <- f() }:
	case <-h.over:
		return 1
	}
	select {
	case result := <-answer:
		return result
	case <-h.over:
		return 1
	}
}

// hosted makes a call on a goroutine of its own, and runs the functions that it asks for on this one. A function that
// panics, or ends its goroutine (as runtime.Goexit and testing's FailNow do), ends the call first, so that nothing
// unwinds through C and no object stays busy.
func hosted(c func(h *host) error) error {
	h := &host{make(chan func()), make(chan struct{})}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = c(h)
	}()
	defer func() {
		close(h.over)
		<-done
	}()
	for {
		select {
		case f := <-h.asked:
			f()
		case <-done:
			return err
		}
	}
}

// turn lets one call at a time work with a model of those that can be cancelled, so that none is cancelled in the place
// of another.
type turn struct{ sync.Mutex }

// run makes a call that ends when ctx is done, be it before, while or after the call begins to compute: the library
// forgets a cancellation that finds nothing to cancel, so it is told again until the call is over.
func (t *turn) run(ctx context.Context, m abi.Handle, f func() int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !t.TryLock() {
		return failure(Busy, "another call is using this model", "")
	}
	defer t.Unlock()
	if ctx.Done() == nil {
		return call(f)
	}
	var telling sync.Mutex
	over := false
	stop := context.AfterFunc(ctx, func() {
		for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
			telling.Lock()
			if over {
				telling.Unlock()
				return
			}
			abi.Cancel(m)
			telling.Unlock()
			time.Sleep(pause)
		}
	})
	err := call(f)
	telling.Lock()
	over = true
	telling.Unlock()
	stop()
	if cause := ctx.Err(); cause != nil && err != nil {
		return cause
	}
	return err
}

// aside runs a function of the host on a goroutine of its own and waits for it. It tells of a panic, and of a goroutine
// that was ended, instead of letting them unwind through C.
func aside(f func()) (fault any, ended bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = true
		defer func() {
			if fault = recover(); fault != nil {
				ended = false
			}
		}()
		f()
		ended = false
	}()
	<-done
	return
}

// withProgress makes a call that may have a function which gets the share done and returns false to cancel; nil is
// none. It runs on this goroutine. The numbers are for C.
func withProgress(progress func(done float32) bool, c func(function, data uintptr) error) error {
	if progress == nil {
		return c(0, 0)
	}
	return hosted(func(h *host) error {
		data := abi.Register(abi.ProgressFunc(func(done float32) int32 {
			return h.ask(func() int32 { return int32(number(!progress(done))) })
		}))
		defer abi.Release(data)
		return c(abi.ProgressFn, data)
	})
}

// closes closes an object when nobody has it any more.
func closes[T any](object *T, closer func(*T)) { runtime.SetFinalizer(object, closer) }
