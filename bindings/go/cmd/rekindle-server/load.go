package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// A load is planned beside the models that are there. Where it does not fit, those that nobody uses go.

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
		if err := f.settle(ctx); err != nil {
			return nil, err
		}
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
