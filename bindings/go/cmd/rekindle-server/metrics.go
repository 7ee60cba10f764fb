package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// metrics are the counters at /metrics, in the names of llama.cpp's server where it has them. It observes all engines.
type metrics struct {
	handler  http.Handler
	registry *prometheus.Registry
	// Tokens of prompts that were read and the time that took, tokens written and the time that took.
	promptTokens, promptSeconds, writtenTokens, writtenSeconds prometheus.Counter
	// Tokens of prompts that were there already.
	reusedTokens prometheus.Counter
	// The speeds of the last request.
	promptRate, writtenRate prometheus.Gauge
	steps, busy             prometheus.Counter
	waiting                 prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	m.promptTokens = counter("llamacpp:prompt_tokens_total", "Tokens of prompts that were read.")
	m.reusedTokens = counter("llamacpp:prompt_tokens_cached_total", "Tokens of prompts that were there already.")
	m.promptSeconds = counter("llamacpp:prompt_seconds_total", "Seconds in which prompts were read.")
	m.writtenTokens = counter("llamacpp:tokens_predicted_total", "Tokens that were written.")
	m.writtenSeconds = counter("llamacpp:tokens_predicted_seconds_total", "Seconds in which tokens were written.")
	m.promptRate = gauge("llamacpp:prompt_tokens_seconds", "Tokens of the last prompt that were read per second.")
	m.writtenRate = gauge("llamacpp:predicted_tokens_seconds", "Tokens of the last answer that were written per second.")
	m.steps = counter("llamacpp:n_decode_total", "Micro-batches that were computed.")
	m.busy = counter("rekindle:busy_slots_total", "Generations at work, summed over micro-batches.")
	m.waiting = gauge("llamacpp:requests_deferred", "Generations that wait for a sequence.")
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// watch adds what is looked up when it is asked for.
func (m *metrics) watch(f *fleet, places chan struct{}) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "llamacpp:requests_processing", Help: "Requests under way.",
		}, func() float64 { return float64(len(places)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "llamacpp:n_busy_slots_per_decode", Help: "Generations at work per micro-batch, on the average.",
		}, func() float64 {
			if steps := valueOf(m.steps); steps > 0 {
				return valueOf(m.busy) / steps
			}
			return 0
		}),
		&fleetCollector{f},
	)
}

func (m *metrics) stepped(tokens, busy, waiting int) {
	if tokens > 0 {
		m.steps.Inc()
		m.busy.Add(float64(busy))
	}
	m.waiting.Set(float64(waiting))
}

func (m *metrics) finished(i jobInfo) {
	read := float64(i.Read - min(i.Read, i.Reused))
	m.promptTokens.Add(read)
	m.reusedTokens.Add(float64(i.Reused))
	m.promptSeconds.Add(i.promptTime().Seconds())
	m.writtenTokens.Add(float64(i.Generated))
	m.writtenSeconds.Add(i.writeTime().Seconds())
	rate := func(g prometheus.Gauge, n float64, d time.Duration) {
		if d > 0 {
			g.Set(n / d.Seconds())
		}
	}
	rate(m.promptRate, read, i.promptTime())
	rate(m.writtenRate, float64(i.Generated), i.writeTime())
}

// valueOf reads a counter back.
func valueOf(c prometheus.Counter) float64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return m.GetCounter().GetValue()
}

// fleetCollector tells which models hold how many bytes of which device.
type fleetCollector struct{ fleet *fleet }

var (
	plannedBytes = prometheus.NewDesc("rekindle:device_planned_bytes", "Bytes that plans of loaded models have of a device.",
		[]string{"model", "device"}, nil)
	usedBytes = prometheus.NewDesc("rekindle:device_used_bytes", "Bytes that loaded models were given of a device.",
		[]string{"model", "device"}, nil)
	freeBytes = prometheus.NewDesc("rekindle:device_free_bytes", "Bytes that were free on a device at the start.",
		[]string{"device"}, nil)
)

func (c *fleetCollector) Describe(to chan<- *prometheus.Desc) {
	to <- plannedBytes
	to <- usedBytes
	to <- freeBytes
}

func (c *fleetCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	if devices, err := c.fleet.devices(); err == nil {
		for i, d := range devices {
			gauge(freeBytes, d.FreeBytes, strconv.Itoa(i))
		}
	}
	for _, l := range c.fleet.all() {
		name := l.entry.name
		if l.seat.purpose != toWrite {
			name += " (rows)"
		}
		for _, d := range l.devices {
			device := strconv.Itoa(int(d.Device))
			gauge(plannedBytes, planned(d), name, device)
			if m, err := l.model.Memory(d.Device); err == nil {
				gauge(usedBytes, planned(rekindle.PlanDevice{Memory: m}), name, device)
			}
		}
	}
}
