package rekindle

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// files to plan for: the shipped model, and where the caller made one, a file that is only a header.
func files() []string {
	all := []string{path()}
	if header := os.Getenv("REKINDLE_HEADER"); header != "" {
		all = append(all, header)
	}
	return all
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// dies plans every file on two described dies.
func dies(t *testing.T, f func(t *testing.T, c *Context, f *File)) {
	for _, name := range files() {
		t.Run(name[strings.LastIndex(name, "/")+1:], func(t *testing.T) {
			c := must[*Context](t)(NewContext("k80:2", 2))
			defer c.Close()
			file := must[*File](t)(c.Open(name))
			defer file.Close()
			f(t, c, file)
		})
	}
}

func TestDevices(t *testing.T) {
	spec := `[{"profile": "k80", "free_bytes": 1000000}, {"kind": "cpu", "total_bytes": 4096}]`
	c := must[*Context](t)(NewContext(spec, 0))
	devices := must[[]DeviceInfo](t)(c.Devices())
	if len(devices) != 2 {
		t.Fatal(devices)
	}
	die, host := devices[0], devices[1]
	if die.Kind != CUDA || die.Name != "Tesla K80" || die.FreeBytes != 1000000 || die.ComputeMajor != 3 ||
		!die.Described || !die.TakesLayers ||
		die.DriverBytes == 0 || die.Flops == 0 || die.ReadBandwidth == 0 || die.HostBandwidth == 0 {
		t.Errorf("%+v", die)
	}
	if host.Kind != CPU || host.TotalBytes != 4096 || !host.Described {
		t.Errorf("%+v", host)
	}
	c.Close()
	if _, err := c.Devices(); status(err) != BadHandle {
		t.Error(err)
	}
}

func TestPlanForDies(t *testing.T) {
	dies(t, func(t *testing.T, c *Context, f *File) {
		p := must[*Plan](t)(c.Plan(f, PlanParams{Ctx: 512}))
		s := must[PlanSummary](t)(p.Summary())
		if !s.Fits || s.Estimator != "measured" || s.Ctx != 512 || s.CtxSource != SourceCaller || s.KeyType != KVF16 ||
			s.Threads != 2 || s.Objective != Latency || s.Name == "" || s.CPULayers != 0 ||
			s.TightestDevice < 0 || s.TightestBytes == 0 {
			t.Errorf("%+v", s)
		}
		if s.PredictedDecode <= 0 || s.PredictedDecodeFull <= 0 || s.PredictedPrompt <= 0 || s.PredictedPipelined <= 0 {
			t.Errorf("no predictions: %+v", s)
		}
		devices := must[[]PlanDevice](t)(p.Devices())
		if len(devices) != 3 || devices[0].Layers+devices[1].Layers != s.Layers ||
			devices[0].Memory.KV+devices[1].Memory.KV == 0 {
			t.Errorf("%+v", devices)
		}
		layers := must[[]PlanLayer](t)(p.Layers())
		if len(layers) != int(s.Layers)+1 || layers[s.Layers].Layer != s.Layers || layers[0].Weights == 0 ||
			layers[0].Reason == "" || layers[0].ExpertsDevice != layers[0].Device {
			t.Errorf("%+v", layers)
		}
		whole := must[string](t)(p.Text())
		reasons := must[[]string](t)(p.Reasons())
		for _, r := range append(reasons, must[[]string](t)(p.Remedies())...) {
			if !strings.Contains(whole, r) {
				t.Error("not in the text:", r)
			}
		}
		if len(reasons) == 0 {
			t.Error("no reasons")
		}
		if _, err := c.Load(p, nil); status(err) != Device {
			t.Error(err)
		}

		family := must[*Plan](t)(c.Plan(f, PlanParams{Ctx: 512, Estimator: EstimatorFamily, Margin: 2}))
		if s := must[PlanSummary](t)(family.Summary()); s.Estimator != "family" || s.PredictedDecode != 0 {
			t.Errorf("%+v", s)
		}
		table := must[string](t)(p.Compare(family))
		if !strings.Contains(table, "measured") || !strings.Contains(table, "family") {
			t.Error(table)
		}
		if _, err := c.Plan(f, PlanParams{Estimator: EstimatorFamily, Margin: 0.5}); status(err) != InvalidArgument {
			t.Error(err)
		}

		// Closed, each gives BadHandle, also as the other side of a comparison.
		family.Close()
		if _, err := p.Compare(family); status(err) != BadHandle {
			t.Error(err)
		}
		for _, err := range []error{
			second(family.Summary()), second(family.Devices()), second(family.Layers()), second(family.Reasons()),
			second(family.Remedies()), second(family.Text()), second(family.JSON()), second(family.Compare(p)),
		} {
			if status(err) != BadHandle {
				t.Error(err)
			}
		}
		family.Close()
	})
}

func second[T any](_ T, err error) error { return err }

func TestLimits(t *testing.T) {
	dies(t, func(t *testing.T, c *Context, f *File) {
		plan := func(limits ...DeviceLimit) ([]PlanDevice, error) {
			p, err := c.Plan(f, PlanParams{
				Ctx: 512, SeqMax: 2, KeyType: KVQ8_0, ValueType: KVQ8_0, Objective: Throughput, Limits: limits,
			})
			// The limits' memory is not needed any more.
			runtime.GC()
			if err != nil {
				return nil, err
			}
			s := must[PlanSummary](t)(p.Summary())
			if s.KeyType != KVQ8_0 || s.ValueType != KVQ8_0 || s.Objective != Throughput || s.SeqMax != 2 {
				t.Errorf("%+v", s)
			}
			return p.Devices()
		}
		if d, err := plan(DeviceLimit{Device: 0, MaxLayers: 1, ReserveBytes: 1 << 20}); err != nil || d[0].Layers > 1 {
			t.Error(d, err)
		}
		if d, err := plan(DeviceLimit{Device: 1, Exclude: true}); err != nil || d[1].Layers != 0 || d[1].HasOutput {
			t.Error(d, err)
		}
		if _, err := plan(DeviceLimit{Device: 0}, DeviceLimit{Device: 0}); status(err) != InvalidArgument {
			t.Error(err)
		}
		if _, err := plan(DeviceLimit{Device: 7}); status(err) != InvalidArgument {
			t.Error(err)
		}
		_, err := plan(DeviceLimit{Device: 0, Exclude: true}, DeviceLimit{Device: 1, Exclude: true})
		if status(err) != InvalidArgument {
			t.Error(err)
		}
	})
}

func TestPlanThatDoesNotFit(t *testing.T) {
	dies(t, func(t *testing.T, c *Context, f *File) {
		p, err := c.Plan(f, PlanParams{Ctx: 1 << 30})
		if status(err) != NotFit || p == nil {
			t.Fatal(p, err)
		}
		if s := must[PlanSummary](t)(p.Summary()); s.Fits {
			t.Errorf("%+v", s)
		}
		if remedies := must[[]string](t)(p.Remedies()); len(remedies) == 0 {
			t.Error("no remedies")
		}
		if text := must[string](t)(p.Text()); !strings.Contains(text, "DOES NOT FIT") {
			t.Error(text)
		}
		if _, err := c.Ask(f, FewestDevices, PlanParams{Ctx: 1 << 30}); status(err) != NotFit {
			t.Error(err)
		}
	})
}

func TestAsk(t *testing.T) {
	dies(t, func(t *testing.T, c *Context, f *File) {
		params := PlanParams{Ctx: 512, Limits: []DeviceLimit{{Device: 1, ReserveBytes: 1 << 20}}}
		for _, q := range []struct {
			question Question
			wanted   uint32
		}{{FewestDevices, 1}, {LargestBatch, 512}, {BestKVType, uint32(KVF16)}} {
			if n, err := c.Ask(f, q.question, params); n != q.wanted || err != nil {
				t.Error(q, n, err)
			}
		}
		if n, err := c.Ask(f, LargestContext, PlanParams{}); n < 512 || err != nil {
			t.Error(n, err)
		}
		if _, err := c.Ask(f, 99, PlanParams{}); status(err) != InvalidArgument {
			t.Error(err)
		}
		f.Close()
		if _, err := c.Ask(f, LargestContext, PlanParams{}); status(err) != BadHandle {
			t.Error(err)
		}
	})
}

// Plans are read from several goroutines at once, which the race detector watches.
func TestPlansSideBySide(t *testing.T) {
	dies(t, func(t *testing.T, c *Context, f *File) {
		p := must[*Plan](t)(c.Plan(f, PlanParams{Ctx: 512}))
		texts := make([]string, 4)
		var wg sync.WaitGroup
		for i := range texts {
			wg.Add(1)
			go func() {
				defer wg.Done()
				mine, err := c.Plan(f, PlanParams{Ctx: 512, Limits: []DeviceLimit{{Device: 0}}})
				if err != nil {
					t.Error(err)
					return
				}
				defer mine.Close()
				if _, err := p.Remedies(); err != nil {
					t.Error(err)
				}
				if texts[i], err = p.Compare(mine); err != nil {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		for _, s := range texts[1:] {
			if s != texts[0] || s == "" {
				t.Error("they disturb each other:", s, texts[0])
			}
		}
	})
}
