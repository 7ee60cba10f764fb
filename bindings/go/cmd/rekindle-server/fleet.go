package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// A fleet holds the models that are loaded. Each new one is planned with what the others have taken; where it does not
// fit, idle ones are unloaded, the least recently used first. A model that makes rows of texts is loaded apart from the
// same file's that writes: their plans differ.

// purpose is what a model is loaded for.
type purpose int

const (
	toWrite purpose = iota
	toEmbed
	toRank
)

// want says what a request needs of a loaded model.
type want struct {
	entry   *entry
	purpose purpose
	// context in tokens; 0: the usual one.
	context uint32
}

type seat struct {
	path    string
	purpose purpose
}

// loaded is a model of a fleet.
type loaded struct {
	*engine
	seat    seat
	entry   *entry
	facts   *facts
	summary rekindle.PlanSummary
	devices []rekindle.PlanDevice
	// context is the one that it was loaded with.
	context *rekindle.Context
	// loadTime is what the load took.
	loadTime time.Duration

	// Under the fleet's lock: requests that use it, the last one's end, how long it stays after that, and if it must go
	// as soon as it can.
	users   int
	used    time.Time
	keep    time.Duration
	leaving bool
	timer   *time.Timer
}

// expires tells when it will be unloaded if nobody asks for it.
func (l *loaded) expires() time.Time {
	if l.keep == forever {
		return time.Now().AddDate(100, 0, 0)
	}
	return l.used.Add(l.keep)
}

type fleet struct {
	options  options
	context  *rekindle.Context
	facts    *factsCache
	observer observer

	// loading has one place: loads are done one after the other.
	loading chan struct{}
	mu      sync.Mutex
	seats   map[seat]*loaded
	// going are those that are on their way out: nobody gets them, and they have their memory yet.
	going map[*engine]bool
	// left is told when a model has lost its last user.
	left chan struct{}
	shut bool
	// lost tells that a device has failed since the context was made.
	lost bool
}

func newFleet(o options, c *rekindle.Context, f *factsCache, obs observer) *fleet {
	return &fleet{
		options: o, context: c, facts: f, observer: obs, loading: make(chan struct{}, 1), seats: map[seat]*loaded{},
		going: map[*engine]bool{}, left: make(chan struct{}, 1),
	}
}

// acquire gives a loaded model, which stays until release is called. fresh tells if it was loaded for this.
func (f *fleet) acquire(ctx context.Context, w want, keep time.Duration) (l *loaded, fresh bool, err error) {
	if l := f.take(w, keep); l != nil {
		return l, false, nil
	}
	select {
	case f.loading <- struct{}{}:
		defer func() { <-f.loading }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if l := f.take(w, keep); l != nil {
		return l, false, nil
	}
	if l, err = f.load(ctx, w); err != nil {
		return nil, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		f.send(l.engine)
		return nil, false, unavailable("ending", "the server is about to end")
	}
	l.users, l.keep, l.used = 1, keep, time.Now()
	f.seats[l.seat] = l
	return l, true, nil
}

// take gives a model that is loaded already and has the context that is wanted.
func (f *fleet) take(w want, keep time.Duration) *loaded {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.seats[seat{w.entry.path, w.purpose}]
	if l == nil || l.leaving || w.context > l.summary.Ctx || l.broken() {
		return nil
	}
	l.users++
	l.keep = keep
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	return l
}

// release gives a model back. The last user's keep-alive begins now.
func (f *fleet) release(l *loaded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.users--
	l.used = time.Now()
	if l.users > 0 {
		return
	}
	select {
	case f.left <- struct{}{}:
	default:
	}
	if l.leaving || l.keep == 0 {
		f.unload(l)
	} else if l.keep != forever {
		l.timer = time.AfterFunc(l.keep, func() { f.expire(l) })
	}
}

func (f *fleet) expire(l *loaded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Someone may have come while the timer was on its way.
	if l.users == 0 && f.seats[l.seat] == l && l.timer != nil && !time.Now().Before(l.expires()) {
		f.unload(l)
	}
}

// unload ends a model without users. The lock is held.
func (f *fleet) unload(l *loaded) {
	if f.seats[l.seat] == l {
		delete(f.seats, l.seat)
	}
	f.lost = f.lost || l.broken()
	f.send(l.engine)
	slog.Info("unloaded", "model", l.entry.name)
}

// send sends an engine on its way out. The lock is held, so nobody waits here: it may have sequences to save.
func (f *fleet) send(e *engine) {
	f.going[e] = true
	e.leave()
}

// settle waits until those that are on their way out are gone, and their memory is free.
func (f *fleet) settle(ctx context.Context) error {
	for {
		f.mu.Lock()
		var first *engine
		for e := range f.going {
			first = e
		}
		f.mu.Unlock()
		if first == nil {
			return nil
		}
		select {
		case <-first.gone:
			f.mu.Lock()
			delete(f.going, first)
			f.mu.Unlock()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dismiss unloads a model when its last user is gone; at once if there is none.
func (f *fleet) dismiss(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.seats {
		if l.seat.path != path {
			continue
		}
		l.leaving = true
		if l.users == 0 {
			f.unload(l)
		}
	}
}

// all gives the models that are loaded.
func (f *fleet) all() []*loaded {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*loaded
	for _, l := range f.seats {
		all = append(all, l)
	}
	return all
}

// close unloads everything; requests that are under way end.
func (f *fleet) close() {
	f.mu.Lock()
	f.shut = true
	for _, l := range f.seats {
		l.leaving = true
		f.unload(l)
	}
	f.mu.Unlock()
	_ = f.settle(context.Background())
}

// expires tells when a model will be unloaded if nobody asks for it.
func (f *fleet) expires(l *loaded) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.users > 0 {
		l.used = time.Now()
	}
	return l.expires()
}

// devices are those that models are planned for now.
func (f *fleet) devices() ([]rekindle.DeviceInfo, error) {
	return f.planner().Devices()
}

// planner is the context that models are planned with now.
func (f *fleet) planner() *rekindle.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.context
}
