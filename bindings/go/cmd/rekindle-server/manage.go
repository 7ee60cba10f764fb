package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sort"
	"strings"
	"time"
)

// createRequest is that of /api/create.
type createRequest struct {
	Model     string            `json:"model"`
	Name      string            `json:"name"`
	From      string            `json:"from"`
	Files     map[string]string `json:"files"`
	Adapters  map[string]string `json:"adapters"`
	Template  *string           `json:"template"`
	System    *string           `json:"system"`
	License   licenses          `json:"license"`
	Params    map[string]any    `json:"parameters"`
	Messages  []json.RawMessage `json:"messages"`
	Quantize  string            `json:"quantize"`
	Modelfile string            `json:"modelfile"`
	Remote    string            `json:"remote_host"`
	Stream    *bool             `json:"stream"`
}

// licenses is one text or several.
type licenses string

func (l *licenses) UnmarshalJSON(b []byte) error {
	var t texts
	if err := t.UnmarshalJSON(b); err != nil {
		return badRequest("license", "license: %v", err)
	}
	*l = licenses(strings.Join(t, "\n"))
	return nil
}

// cannot says which part of the request this server does not do.
func (c *createRequest) cannot() error {
	for _, part := range []struct {
		name  string
		given bool
		why   string
	}{
		{"quantize", c.Quantize != "", "files are used as they are"},
		{"adapters", len(c.Adapters) > 0, "models are made without adapters"},
		{"messages", len(c.Messages) > 0, "models are made without messages"},
		{"modelfile", c.Modelfile != "", "newer clients send from, files, system and parameters"},
		{"remote_host", c.Remote != "", "models are those of this machine"},
	} {
		if part.given {
			return notThere("%s is not there: %s", part.name, part.why)
		}
	}
	return nil
}

// create makes a model: a name for a file that lies here, with a prompt and parameters of its own.
func (s *server) create(w http.ResponseWriter, r *http.Request) error {
	var c createRequest
	if err := readJSON(r, &c); err != nil {
		return err
	}
	if c.Model == "" {
		c.Model = c.Name
	}
	made, err := s.record(&c)
	if err != nil {
		return err
	}
	if err := s.changed(s.state.keep(*made)); err != nil {
		return err
	}
	say("made", *made)
	if c.Stream != nil && !*c.Stream {
		return writeJSON(w, map[string]any{"status": "success"})
	}
	out := newStream(w, false)
	for _, status := range []string{"using existing layer " + made.Path, "writing manifest", "success"} {
		if err := out.send(map[string]any{"status": status}); err != nil {
			return err
		}
	}
	return nil
}

// changed has the list of models looked up anew, and a model unloaded whose file is gone.
func (s *server) changed(gone string, err error) error {
	s.catalog.changed()
	if gone != "" {
		s.fleet.dismiss(gone)
	}
	return err
}

// record checks a request and makes what is kept of it.
func (s *server) record(c *createRequest) (*record, error) {
	if err := s.state.there(); err != nil {
		return nil, err
	}
	if err := c.cannot(); err != nil {
		return nil, err
	}
	name, err := s.freeName("model", c.Model)
	if err != nil {
		return nil, err
	}
	r := &record{}
	switch {
	case c.From != "" && len(c.Files) > 0:
		return nil, badRequest("from", "from and files are given; one of them is wanted")
	case c.From != "":
		e, err := s.catalog.find(c.From)
		if err != nil {
			return nil, err
		}
		*r = e.record()
	default:
		if r.Path, err = s.oneFile(c.Files); err != nil {
			return nil, err
		}
	}
	// A file that cannot be read makes no model.
	if _, err := s.facts.of(r.Path); err != nil {
		return nil, asBadModel(err)
	}
	r.Name, r.Made = name, time.Now().UTC()
	if c.Template != nil {
		r.Template = *c.Template
	}
	if c.System != nil {
		r.System = *c.System
	}
	if c.License != "" {
		r.License = string(c.License)
	}
	if r.Params, err = merged(r.Params, c.Params); err != nil {
		return nil, err
	}
	for field, text := range map[string]string{"template": r.Template, "system": r.System, "license": r.License} {
		if len(text) > maxManifest {
			return nil, badRequest(field, "%s has %d bytes, %d at most are possible", field, len(text), maxManifest)
		}
	}
	return r, nil
}

// asBadModel makes an error of a client's file one of the request.
func asBadModel(err error) error {
	f := *asFailure(err)
	if f.status >= 500 {
		f.status, f.kind = http.StatusBadRequest, "invalid_request_error"
	}
	return &f
}

// freeName gives a name that a client may use: a new one, or one that a client has made.
func (s *server) freeName(param, name string) (string, error) {
	name, err := checkName(param, name)
	if err != nil {
		return "", err
	}
	if e, err := s.catalog.find(name); err == nil && !e.made {
		return "", badRequest(param, "%s is the name of %s, which this server only reads", name, e.path)
	}
	return name, nil
}

// oneFile is the path of the only file that a request names by its digest.
func (s *server) oneFile(files map[string]string) (string, error) {
	if len(files) == 0 {
		return "", badRequest("from", "from is missing: a model, or files by their digests")
	}
	if len(files) > 1 {
		return "", notThere("models of %d files are not there: one GGUF file is wanted", len(files))
	}
	for _, digest := range files {
		return s.blobPath(digest)
	}
	return "", nil
}

// merged gives parameters with those of a request in place of older ones.
func merged(old json.RawMessage, more map[string]any) (json.RawMessage, error) {
	all := map[string]any{}
	if len(old) > 0 {
		d := json.NewDecoder(bytes.NewReader(old))
		d.UseNumber()
		if err := d.Decode(&all); err != nil {
			return nil, err
		}
	}
	for name, v := range more {
		all[name] = v
	}
	if len(all) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	var w wishes
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, badRequest("parameters", "parameters: %v", err)
	}
	return text, nil
}

// record gives what is kept of a model under another name.
func (e *entry) record() record {
	return record{Path: e.path, Template: e.template, System: e.system, License: e.license, Params: e.paramsText}
}

// copyModel gives a model a further name.
func (s *server) copyModel(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Source      string `json:"source"`
		Destination string `json:"destination"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if err := s.state.there(); err != nil {
		return err
	}
	e, err := s.catalog.find(q.Source)
	if err != nil {
		return err
	}
	made := e.record()
	made.Made = time.Now().UTC()
	if made.Name, err = s.freeName("destination", q.Destination); err != nil {
		return err
	}
	if err := s.changed(s.state.keep(made)); err != nil {
		return err
	}
	say("copied", made)
	w.WriteHeader(http.StatusOK)
	return nil
}

// deleteModel takes a name away that a client has made. Files that lie elsewhere stay.
func (s *server) deleteModel(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model string `json:"model"`
		Name  string `json:"name"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if q.Model == "" {
		q.Model = q.Name
	}
	if err := s.state.there(); err != nil {
		return err
	}
	// A name whose file is gone can be deleted as well.
	if !s.state.has(q.Model) {
		e, err := s.catalog.find(q.Model)
		if err != nil {
			return err
		}
		return &failure{http.StatusForbidden, e.name + " is not deleted: this server only reads " + e.path,
			"invalid_request_error", "forbidden", "model"}
	}
	if err := s.changed(s.state.drop(q.Model)); err != nil {
		return err
	}
	say("deleted", record{Name: q.Model})
	w.WriteHeader(http.StatusOK)
	return nil
}

// loadModel and unloadModel are those of llama.cpp's server.
func (s *server) loadModel(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model     string    `json:"model"`
		KeepAlive keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	l.release()
	return writeJSON(w, map[string]any{"success": true})
}

func (s *server) unloadModel(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model string `json:"model"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	e, err := s.catalog.find(q.Model)
	if err != nil {
		return err
	}
	s.fleet.dismiss(e.path)
	return writeJSON(w, map[string]any{"success": true})
}

// byName sorts models.
func byName(list []*entry) []*entry {
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}
