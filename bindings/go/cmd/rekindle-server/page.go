package main

import (
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// The page for browsers: plain files, no build step.
//
//go:embed page
var pageFiles embed.FS

// root answers browsers with the page, and the probe of Ollama's clients with its sentence.
func (s *server) root(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.pageFile(w, r, "index.html")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Ollama is running")
}

func (s *server) pageFile(w http.ResponseWriter, r *http.Request, name string) {
	h := w.Header()
	// What a model writes is shown as text; nothing from elsewhere runs, even if that were to fail.
	h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, pageFiles, "page/"+name)
}

// mostDevices is the length of a description of devices.
const mostDevices = 4096

// planned answers with a model's plan, beside the models that are loaded, or for devices that are described. Nothing
// is loaded.
func (s *server) planned(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model     string `json:"model"`
		Devices   string `json:"devices"`
		Context   *int64 `json:"n_ctx"`
		Sequences *int64 `json:"n_seq_max"`
		Remedies  bool   `json:"remedies"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	e, err := s.catalog.find(q.Model)
	if err != nil {
		return err
	}
	p := rekindle.PlanParams{}
	if err := count(&p.Ctx, q.Context, "n_ctx"); err != nil {
		return err
	}
	if err := count(&p.SeqMax, q.Sequences, "n_seq_max"); err != nil {
		return err
	}
	reserved := map[string]uint64{}
	var context *rekindle.Context
	if q.Devices == "" {
		context = s.fleet.planner()
		p.Limits = s.fleet.taken()
		for _, l := range p.Limits {
			reserved[strconv.Itoa(int(l.Device))] = l.ReserveBytes
		}
	} else {
		if len(q.Devices) > mostDevices {
			return badRequest("devices", "devices has %d bytes, %d at most are possible", len(q.Devices), mostDevices)
		}
		if context, err = rekindle.NewContext(q.Devices, 1); err != nil {
			return err
		}
		defer context.Close()
	}
	file, err := context.Open(e.path)
	if err != nil {
		return err
	}
	defer file.Close()
	plan, err := context.Plan(file, p)
	if plan == nil {
		return err
	}
	defer plan.Close()
	if q.Remedies {
		// The plan's text has those that were worked out.
		if _, err := plan.Remedies(); err != nil {
			return err
		}
	}
	text, err := plan.JSON()
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"plan": json.RawMessage(text), "reserved": reserved})
}
