package main

import (
	"context"
	"errors"
	"sync"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// token is one event of a job: the token, the text that can be shown by now, and its probabilities if they were asked
// for.
type token struct {
	id       int32
	text     string
	logprobs *rekindle.Logprobs
}

// jobInfo is what is known of a job so far.
type jobInfo struct {
	rekindle.GenerationInfo
	joined, firstToken, ended time.Time
}

// promptTime is the time from the first step to the first token.
func (i jobInfo) promptTime() time.Duration {
	switch {
	case i.joined.IsZero():
		return 0
	case !i.firstToken.IsZero():
		return i.firstToken.Sub(i.joined)
	case !i.ended.IsZero():
		return i.ended.Sub(i.joined)
	}
	return time.Since(i.joined)
}

// writeTime is the time from the first token to the end.
func (i jobInfo) writeTime() time.Duration {
	if i.firstToken.IsZero() || i.ended.IsZero() {
		return 0
	}
	return i.ended.Sub(i.firstToken)
}

// errAbandoned ends a job whose siblings have failed.
var errAbandoned = errors.New("another answer to the same request has failed")

// job is a generation on its way. The engine writes, a request reads. What waits for a slow reader is bounded by the
// context: a generation has no more tokens than that.
type job struct {
	params rekindle.GenerationParams
	ctx    context.Context
	// abandon ends it early.
	abandon func()
	// admitted gets what came of the attempt to begin.
	admitted chan error
	// generation and cancelled belong to the engine.
	generation *rekindle.Generation
	cancelled  bool

	mu     sync.Mutex
	tokens []token
	info   jobInfo
	err    error
	over   bool
	// news has room for one: something was written since the last look.
	news chan struct{}
}

func newJob(ctx context.Context, p rekindle.GenerationParams) *job {
	ctx, cancel := context.WithCancelCause(ctx)
	return &job{params: p, ctx: ctx, abandon: func() { cancel(errAbandoned) }, admitted: make(chan error, 1), news: make(chan struct{}, 1)}
}

func (j *job) tell(f func()) {
	j.mu.Lock()
	f()
	j.mu.Unlock()
	select {
	case j.news <- struct{}{}:
	default:
	}
}

func (j *job) end(err error) {
	j.tell(func() {
		j.err, j.over, j.info.ended = err, true, time.Now()
	})
	j.abandon()
}

// take gives what has come since the last call, and tells if it was the end.
func (j *job) take() (tokens []token, over bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	tokens, j.tokens = j.tokens, nil
	return tokens, j.over, j.err
}

// facts gives what is known so far.
func (j *job) facts() jobInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.info
}

// read hands tokens to each as they come, and calls idle now and then while none comes. It returns at the end of the
// job, or with the first error.
func (j *job) read(each func(token) error, interval time.Duration, idle func(jobInfo) error) error {
	if interval <= 0 {
		interval = time.Hour
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		tokens, over, err := j.take()
		for _, t := range tokens {
			if err := each(t); err != nil {
				return err
			}
		}
		if over {
			return err
		}
		select {
		case <-j.news:
			tick.Reset(interval)
		case <-tick.C:
			if idle != nil {
				if err := idle(j.facts()); err != nil {
					return err
				}
			}
		}
	}
}

// overAlready is a job that has ended before its first token, since none was wanted.
func overAlready() *job {
	j := newJob(context.Background(), rekindle.GenerationParams{})
	j.info.Stop = rekindle.StopLimit
	j.end(nil)
	return j
}
