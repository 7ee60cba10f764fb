package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"rekindle"
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
	// left is told when a model has lost its last user.
	left chan struct{}
	shut bool
	// lost tells that a device has failed since the context was made.
	lost bool
}

func newFleet(o options, c *rekindle.Context, f *factsCache, obs observer) *fleet {
	return &fleet{
		options: o, context: c, facts: f, observer: obs, loading: make(chan struct{}, 1), seats: map[seat]*loaded{},
		left: make(chan struct{}, 1),
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
		l.close()
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
	l.close()
	slog.Info("unloaded", "model", l.entry.name)
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
	defer f.mu.Unlock()
	f.shut = true
	for _, l := range f.seats {
		l.leaving = true
		f.unload(l)
	}
}

// load plans and loads, and makes room for it if need be.
func (f *fleet) load(ctx context.Context, w want) (*loaded, error) {
	began := time.Now()
	facts, err := f.facts.of(w.entry.path)
	if err != nil {
		return nil, err
	}
	if w.purpose == toWrite && facts.encoder {
		return nil, badRequest("model", "%s makes rows of texts and does not write", w.entry.name)
	}
	// One that is there with too small a context, or that has failed, goes first: nobody new gets it.
	if err := f.clear(ctx, seat{w.entry.path, w.purpose}); err != nil {
		return nil, err
	}
	if err := f.renew(); err != nil {
		return nil, err
	}
	file, err := f.context.Open(w.entry.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for {
		plan, err := f.plan(file, facts, w)
		if err == nil {
			defer plan.Close()
			l, err := f.loadPlan(ctx, w, facts, plan)
			if err != nil {
				return nil, err
			}
			l.loadTime = time.Since(began)
			slog.Info("loaded", "model", w.entry.name, "context", l.summary.Ctx, "sequences", l.summary.SeqMax,
				"seconds", l.loadTime.Seconds())
			return l, nil
		}
		// A plan that does not fit is the answer only when nothing else is loaded.
		if statusOf(err) != rekindle.NotFit {
			return nil, err
		}
		made, wait := f.makeRoom()
		switch {
		case made:
			plan.Close()
		case wait:
			plan.Close()
			select {
			case <-f.left:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			return nil, notFit(err, plan)
		}
	}
}

// renew looks for devices anew after one of them has failed: the new context has those that still answer, and the
// memory that is free on them beside the models that go on.
func (f *fleet) renew() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lost {
		return nil
	}
	c, err := rekindle.NewContext(f.options.devices, uint32(f.options.threads))
	if err != nil {
		return err
	}
	slog.Warn("a device has failed; devices were looked for anew")
	// The old one goes when the last model that was loaded with it does.
	f.context, f.lost = c, false
	return nil
}

// statusOf is the library's status of an error; 0 if it is another one.
func statusOf(err error) rekindle.Status {
	var e *rekindle.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// notFit is the answer in the plan's own words: what is missing where, and what would fit.
func notFit(err error, plan *rekindle.Plan) error {
	said := asFailure(err)
	defer plan.Close()
	sentences := []string{said.message}
	for _, more := range []func() ([]string, error){plan.Reasons, plan.Remedies} {
		if list, err := more(); err == nil {
			sentences = append(sentences, list...)
		}
	}
	said.message = strings.Join(sentences, "; ")
	return said
}

// clear unloads the model of a seat and waits until its users are gone.
func (f *fleet) clear(ctx context.Context, s seat) error {
	for {
		f.mu.Lock()
		l := f.seats[s]
		if l == nil {
			f.mu.Unlock()
			return nil
		}
		l.leaving = true
		if l.users == 0 {
			f.unload(l)
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.left:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// makeRoom unloads the least recently used model without users. If all have users, one can wait for them.
func (f *fleet) makeRoom() (made, wait bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var oldest *loaded
	for _, l := range f.seats {
		if l.users == 0 && (oldest == nil || l.used.Before(oldest.used)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false, len(f.seats) > 0
	}
	f.unload(oldest)
	return true, false
}

// plan plans a model beside those that are loaded.
func (f *fleet) plan(file *rekindle.File, facts *facts, w want) (*rekindle.Plan, error) {
	p := rekindle.PlanParams{
		SeqMax: uint32(f.options.parallel), OutputsMax: uint32(f.options.parallel), Ubatch: uint32(f.options.ubatch),
		Ctx: w.context, Limits: f.taken(),
	}
	switch w.purpose {
	case toEmbed:
		p.OutputsMax = 0
		// A text must lie in one batch, that of an encoder in one micro-batch.
		if p.Ctx == 0 {
			p.Ctx = min(f.usualContext(facts), usualText)
		}
		p.Batch = p.Ctx
		if facts.encoder {
			p.Ubatch = p.Ctx
		}
		p.Pooling = rekindle.PoolingFile
		if facts.pooling <= 0 || facts.pooling == int64(rekindle.PoolingRank) {
			p.Pooling = rekindle.PoolingMean
		}
	case toRank:
		p.OutputsMax = 0
		p.Ctx = min(f.usualContext(facts), usualText)
		p.Batch = p.Ctx
		p.Pooling = rekindle.PoolingRank
	}
	usual := p.Ctx == 0
	if usual {
		p.Ctx = f.usualContext(facts)
	}
	plan, err := f.context.Plan(file, p)
	if usual && statusOf(err) == rekindle.NotFit && f.options.context == 0 {
		// Nobody asked for that context: what fits will do.
		plan.Close()
		p.Ctx = 0
		plan, err = f.context.Plan(file, p)
	}
	return plan, err
}

// usualText is the longest text, in tokens, that a row is made of where a request names no context.
const usualText = 4096

// usualContext is the context where a request names none.
func (f *fleet) usualContext(facts *facts) uint32 {
	if f.options.context > 0 {
		return uint32(min(f.options.context, math.MaxUint32))
	}
	if n := facts.info.CtxTrain; n > 0 && n < usualContext {
		return n
	}
	return usualContext
}

// taken is what loaded models hold of each device. A plan counts on the memory that was free at first.
func (f *fleet) taken() []rekindle.DeviceLimit {
	bytes, now := map[uint32]uint64{}, f.planner()
	for _, l := range f.all() {
		// What was loaded before the context was made is not free in it anyway.
		if l.context != now {
			continue
		}
		for _, d := range l.devices {
			bytes[d.Device] += planned(d)
		}
	}
	var limits []rekindle.DeviceLimit
	for device, n := range bytes {
		if n > 0 {
			limits = append(limits, rekindle.DeviceLimit{Device: device, ReserveBytes: n})
		}
	}
	return limits
}

// planned is the number of a device's bytes that a plan uses.
func planned(d rekindle.PlanDevice) uint64 {
	return d.Memory.Weights + d.Memory.Mapped + d.Memory.KV + d.Memory.Compute + d.Memory.Driver
}

func (f *fleet) loadPlan(ctx context.Context, w want, facts *facts, plan *rekindle.Plan) (*loaded, error) {
	goOn := func(float32) bool { return ctx.Err() == nil }
	m, err := f.context.LoadWith(plan, goOn, rekindle.LoadOptions{Replan: true})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	// Replanning may have led to another plan than the one given.
	used, err := m.Plan()
	if err != nil {
		m.Close()
		return nil, err
	}
	defer used.Close()
	l := &loaded{seat: seat{w.entry.path, w.purpose}, entry: w.entry, facts: facts, context: f.context}
	if l.summary, err = used.Summary(); err == nil {
		l.devices, err = used.Devices()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	slots := int(l.summary.SeqMax)
	var farewell func(*rekindle.Model)
	if dir := f.options.slotPath; dir != "" && w.purpose == toWrite {
		restoreSlots(dir, w.entry.path, m, slots)
		farewell = func(m *rekindle.Model) { saveSlots(dir, w.entry.path, m, slots) }
	}
	l.engine = newEngine(m, slots, f.observer, farewell)
	return l, nil
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
