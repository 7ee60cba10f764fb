package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// engine is a loaded model and the one goroutine that computes with it. Requests join by handing in jobs and errands;
// the goroutine steps all jobs together, so a long prompt never keeps those who talk waiting for more than a
// micro-batch.
type engine struct {
	model    *rekindle.Model
	slots    int
	join     chan *job
	errands  chan func()
	quit     chan struct{}
	gone     chan struct{}
	observer observer
	closing  sync.Once
	// farewell (may be nil) is called before the model is freed.
	farewell func(*rekindle.Model)
	// jobs are those under way; they belong to the engine's goroutine.
	jobs []*job

	mu sync.Mutex
	// busy counts jobs that have joined and are not over.
	busy int
	// failed tells that a device failed: the model can only be unloaded.
	failed bool
	// errand is that of the errand that runs now.
	errand chan error
	// alone is the only job of the step that runs now, if there is only one.
	alone *job
}

// observer is told what an engine does.
type observer interface {
	stepped(tokens, busy, waiting int)
	finished(info jobInfo)
}

func newEngine(m *rekindle.Model, slots int, o observer, farewell func(*rekindle.Model)) *engine {
	e := &engine{
		model: m, slots: slots, observer: o, farewell: farewell, join: make(chan *job), errands: make(chan func()),
		quit: make(chan struct{}), gone: make(chan struct{}),
	}
	go e.run()
	return e
}

var errUnloaded = errors.New("the model was unloaded")

// start begins a generation, which ends early when ctx is done. It returns when the generation has its place, or cannot
// have one.
func (e *engine) start(ctx context.Context, p rekindle.GenerationParams) (*job, error) {
	j := newJob(ctx, p)
	select {
	case e.join <- j:
	case <-e.gone:
		return nil, errUnloaded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := <-j.admitted; err != nil {
		return nil, err
	}
	context.AfterFunc(j.ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.alone == j {
			// Nobody else is in the step, so it need not come to its end.
			e.model.Cancel()
		}
	})
	return j, nil
}

// do runs f between two steps, with the model to itself. What f computes ends early when ctx is done.
func (e *engine) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case e.errands <- func() {
		e.setErrand(done)
		err := f()
		e.setErrand(nil)
		e.notice(err)
		done <- err
	}:
	case <-e.gone:
		return errUnloaded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	e.mu.Lock()
	if e.errand == done {
		e.model.Cancel()
	}
	e.mu.Unlock()
	<-done
	return ctx.Err()
}

func (e *engine) setErrand(done chan error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errand = done
}

// leave ends all jobs and frees the model, soon: gone tells when. It may be called again.
func (e *engine) leave() { e.closing.Do(func() { close(e.quit) }) }

func (e *engine) run() {
	defer close(e.gone)
	defer giveBack()
	defer e.model.Close()
	for {
		if len(e.jobs) == 0 {
			select {
			case j := <-e.join:
				e.admit(j)
			case f := <-e.errands:
				f()
			case <-e.quit:
				e.end()
				return
			}
			continue
		}
		select {
		case j := <-e.join:
			e.admit(j)
		case f := <-e.errands:
			f()
		case <-e.quit:
			e.end()
			return
		default:
			e.jobs = e.step(e.jobs)
		}
	}
}

// end ends all jobs.
func (e *engine) end() {
	for _, j := range e.jobs {
		e.finish(j, errUnloaded)
	}
	e.jobs = nil
	if e.farewell != nil && !e.broken() {
		e.farewell(e.model)
	}
}

// working are the sequences of generations under way. It is for errands.
func (e *engine) working() map[int32]bool {
	at := map[int32]bool{}
	for _, j := range e.jobs {
		if info, err := j.generation.Info(); err == nil && info.Seq >= 0 {
			at[info.Seq] = true
		}
	}
	return at
}

func (e *engine) admit(j *job) {
	g, err := e.model.NewGeneration(j.params)
	if err != nil {
		j.abandon()
		j.admitted <- err
		return
	}
	j.generation = g
	j.tell(func() { j.info.joined = time.Now() })
	e.mu.Lock()
	e.busy++
	e.mu.Unlock()
	j.admitted <- nil
	e.jobs = append(e.jobs, j)
}

func (e *engine) finish(j *job, err error) {
	if info, failed := j.generation.Info(); failed == nil {
		j.tell(func() { j.info.GenerationInfo = info })
	}
	j.generation.Close()
	j.end(err)
	e.mu.Lock()
	e.busy--
	e.mu.Unlock()
	e.observer.finished(j.facts())
}

// step computes one micro-batch and hands out what came. It gives the jobs that go on.
func (e *engine) step(jobs []*job) []*job {
	generations := make([]*rekindle.Generation, len(jobs))
	for i, j := range jobs {
		if !j.cancelled && j.ctx.Err() != nil {
			j.cancelled = true
			j.generation.Cancel()
		}
		generations[i] = j.generation
	}
	e.setAlone(jobs)
	r, err := e.model.Step(generations...)
	e.setAlone(nil)
	if err != nil {
		var failure *rekindle.Error
		if errors.As(err, &failure) && failure.Status == rekindle.Cancelled {
			// No generation has changed: the next step ends the one that was meant.
			return jobs
		}
		e.notice(err)
		for _, j := range jobs {
			e.finish(j, err)
		}
		return nil
	}
	e.observer.stepped(int(r.Tokens), len(jobs)-int(r.Waiting), int(r.Waiting))
	waiting := r.Tokens == 0 && int(r.Waiting) == len(jobs)
	jobs = slices.DeleteFunc(jobs, e.deliver)
	if waiting && len(jobs) > 0 && !e.clear() {
		// Nothing that waits would change that.
		for _, j := range jobs {
			e.finish(j, unavailable("no_sequence", "no sequence is free"))
		}
		return nil
	}
	return jobs
}

// clear forgets all sequences, which nobody is at work on, so that generations that wait can have them. It tells if
// there were some.
func (e *engine) clear() (some bool) {
	for seq := range e.slots {
		if n, err := e.model.Length(int32(seq)); err == nil && n > 0 {
			some = e.model.Remove(int32(seq), 0, -1) == nil || some
		}
	}
	return some
}

// notice remembers an error after which the model is of no use.
func (e *engine) notice(err error) {
	if statusOf(err) == rekindle.Device {
		e.mu.Lock()
		e.failed = true
		e.mu.Unlock()
	}
}

// broken tells if a device of the model has failed.
func (e *engine) broken() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

func (e *engine) setAlone(jobs []*job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alone = nil
	if len(jobs) == 1 && !jobs[0].cancelled {
		e.alone = jobs[0]
	}
}

// deliver takes the events of a job's generation and tells if it has ended.
func (e *engine) deliver(j *job) bool {
	for {
		event, some, err := j.generation.Next()
		if !some && err == nil {
			if info, failed := j.generation.Info(); failed == nil {
				j.tell(func() { j.info.GenerationInfo = info })
			}
			return false
		}
		t := token{id: event.Token, text: event.Text}
		if j.params.Sampler.Logprobs > 0 && event.Token >= 0 {
			if l, failed := j.generation.Logprobs(rekindle.ByModel); failed == nil {
				t.logprobs = &l
			}
		}
		j.tell(func() {
			if event.Token >= 0 && j.info.firstToken.IsZero() {
				j.info.firstToken = time.Now()
			}
			if event.Token >= 0 || event.Text != "" {
				j.tokens = append(j.tokens, t)
			}
		})
		if event.Stop != 0 || err != nil {
			if err == nil && event.Stop == rekindle.StopCancelled {
				err = context.Cause(j.ctx)
			}
			e.finish(j, err)
			return true
		}
	}
}
