package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The state (--state) is what clients have made: names for models that lie elsewhere, with prompts and parameters of
// their own, and files that they have sent. An Ollama store and the files on the command line are never changed.
//
//	models.json           the names
//	blobs/sha256-<hex>    the files, as in an Ollama store
type state struct {
	dir string

	mu     sync.Mutex
	models map[string]record
}

// record is a model that a client has made. Its file lies on the command line's folders, in the store, or in blobs.
type record struct {
	Name     string          `json:"name"`
	Path     string          `json:"path"`
	Template string          `json:"template,omitempty"`
	System   string          `json:"system,omitempty"`
	License  string          `json:"license,omitempty"`
	Params   json.RawMessage `json:"parameters,omitempty"`
	Made     time.Time       `json:"made"`
}

// mostRecords is a bound of the file of names.
const mostRecords = 10_000

// openState reads what there is. A file that cannot be read is an error: going on would lose it.
func openState(dir string) (*state, error) {
	s := &state{dir: dir, models: map[string]record{}}
	if dir == "" {
		return s, nil
	}
	// What people made is nobody else's business.
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(s.file())
	if err == nil {
		if err = json.Unmarshal(text, &s.models); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file(), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return s, s.tidy()
}

func (s *state) file() string { return filepath.Join(s.dir, "models.json") }

// there tells that names can be kept.
func (s *state) there() error {
	if s.dir == "" {
		return notThere("models are made, copied and deleted where the server was started with --state")
	}
	return nil
}

// tidy removes what uploads have left that did not come to their end.
func (s *state) tidy() error {
	parts, err := filepath.Glob(filepath.Join(globEscape(s.dir), "blobs", "*.part"))
	for _, p := range parts {
		err = errors.Join(err, os.Remove(p))
	}
	return err
}

// nameForm is what a name may be: host, namespace, name and tag.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}(:[A-Za-z0-9][A-Za-z0-9._-]*)?$`)

// mostName is the length of a name.
const mostName = 200

// checkName gives a name with its tag.
func checkName(param, name string) (string, error) {
	if len(name) > mostName || !nameForm.MatchString(name) {
		return "", badRequest(param, "%s is %.80q; letters, digits, dots, _ and - are possible, as in family:tag", param, name)
	}
	return (&entry{name: name}).tagged(), nil
}

// keep adds a record, or replaces the one of that name. It gives the path of a file that is gone for that, if any.
func (s *state) keep(r record) (gone string, err error) {
	return s.change(plainName(r.Name), func(models map[string]record) error {
		if len(models) >= mostRecords {
			return badRequest("model", "there are %d models already", len(models))
		}
		models[plainName(r.Name)] = r
		return nil
	})
}

// drop removes a record. It gives the path of a file that is gone for that, if any.
func (s *state) drop(name string) (gone string, err error) {
	return s.change(plainName(name), func(models map[string]record) error {
		delete(models, plainName(name))
		return nil
	})
}

// change changes a name, on the disk first. A file that a client has sent goes with its last name.
func (s *state) change(name string, f func(map[string]record) error) (gone string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	models := map[string]record{}
	for name, r := range s.models {
		models[name] = r
	}
	if err := f(models); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(models, "", "  ")
	if err == nil {
		err = replaceFile(s.file(), append(text, '\n'))
	}
	if err != nil {
		return "", err
	}
	before := s.models[name].Path
	s.models = models
	if filepath.Dir(before) != filepath.Join(s.dir, "blobs") {
		return "", nil
	}
	for _, r := range models {
		if r.Path == before {
			return "", nil
		}
	}
	return before, os.Remove(before)
}

// has tells if a name is one of this state.
func (s *state) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.models[plainName(name)]
	return is
}

// entries gives the models that were made.
func (s *state) entries(d *digests, complain func(error)) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*entry
	for _, r := range s.models {
		e, err := r.entry(d)
		if err != nil {
			complain(fmt.Errorf("%s: %w", r.Name, err))
			continue
		}
		all = append(all, e)
	}
	return all
}

func (r *record) entry(d *digests) (*entry, error) {
	info, err := os.Stat(r.Path)
	if err != nil {
		return nil, err
	}
	e := &entry{
		name: r.Name, path: r.Path, size: info.Size(), modified: r.Made, template: r.Template, system: r.System,
		license: r.License, paramsText: r.Params, made: true,
	}
	if m := digestForm.FindStringSubmatch(filepath.Base(r.Path)); m != nil {
		e.digest = m[1]
	} else {
		e.digest = d.of(r.Path, info)
	}
	if len(r.Params) > 0 {
		err = json.Unmarshal(r.Params, &e.params)
	}
	return e, err
}

// usualState is the folder where states lie.
func usualState() (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "rekindle"), nil
}

// blobPath is where a file of that digest lies: sent by a client, in the store, or under a name of its own.
func (s *server) blobPath(digest string) (path string, err error) {
	own, err := blob(s.state.dir, digest)
	if err != nil {
		return "", badRequest("digest", "%v", err)
	}
	candidates := []string{}
	if s.state.dir != "" {
		candidates = append(candidates, own)
	}
	if s.options.store != "" {
		candidates = append(candidates, filepath.Join(s.options.store, "blobs", filepath.Base(own)))
	}
	for _, p := range candidates {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	hex := strings.TrimPrefix(filepath.Base(own), "sha256-")
	for _, e := range s.catalog.all() {
		if e.digest == hex {
			return e.path, nil
		}
	}
	return "", notFound("not_found", "there is no file with the digest %s", digest)
}

// say logs what a client has changed.
func say(what string, r record) { slog.Info(what, "model", r.Name, "path", r.Path) }
