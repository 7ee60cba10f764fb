package rekindle

import (
	"runtime"
	"sync"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// hostStep is a step of the host's own, registered for C. Samplers, their copies and generations share it.
type hostStep struct {
	number uintptr
	fault  *fault
}

// fault is what a step did instead of returning.
type fault struct {
	sync.Mutex
	panicked any
	ended    bool
}

func newHostStep(f func([]Candidate) int) *hostStep {
	if f == nil {
		return nil
	}
	fault := &fault{}
	number := abi.Register(abi.CandidatesFunc(func(c []abi.Candidate) (kept int) {
		kept = -1
		panicked, ended := aside(func() { kept = f(alike[Candidate](c)) })
		if panicked == nil && !ended {
			return kept
		}
		fault.Lock()
		defer fault.Unlock()
		fault.panicked, fault.ended = panicked, ended
		return -1
	}))
	s := &hostStep{number, fault}
	closes(s, func(s *hostStep) { abi.Release(s.number) })
	return s
}

// after carries on what a step did instead of returning, now that C has returned; else it gives the call's error.
func (s *hostStep) after(err error) error {
	if s == nil {
		return err
	}
	s.fault.Lock()
	panicked, ended := s.fault.panicked, s.fault.ended
	s.fault.panicked, s.fault.ended = nil, false
	s.fault.Unlock()
	if panicked != nil {
		panic(panicked)
	}
	if ended {
		runtime.Goexit()
	}
	return err
}
