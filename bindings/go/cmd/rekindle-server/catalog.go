package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// entry is a model at hand.
type entry struct {
	// name is what clients call it: a file's name without its ending, or the name of an Ollama store, "family:tag".
	name     string
	path     string
	size     int64
	modified time.Time
	// digest is the SHA-256 of the model's bytes in hexadecimal, empty while it is not known.
	digest string
	// stored tells that it is from an Ollama store; the rest is what the store says of it.
	stored                    bool
	template, system, license string
	params                    wishes
	paramsText                []byte
	// ignored names layers that are not used.
	ignored []string
	// made tells that a client has made it, so that a client may delete it.
	made bool
}

// tagged is the name with a tag, as Ollama's clients write it.
func (e *entry) tagged() string {
	if strings.Contains(e.name[strings.LastIndex(e.name, "/")+1:], ":") {
		return e.name
	}
	return e.name + ":latest"
}

// catalog is the list of models at hand. It looks at the folders again when it is asked, once a second at most.
type catalog struct {
	paths   []string
	store   string
	state   *state
	digests *digests
	// aliases are further names of models.
	aliases map[string]string

	mu      sync.Mutex
	entries []*entry
	looked  time.Time
	// said holds complaints that were logged already.
	said map[string]bool
}

func newCatalog(o options, s *state, d *digests) (*catalog, error) {
	for _, p := range o.models {
		if _, err := os.Stat(p); err != nil {
			return nil, err
		}
	}
	return &catalog{
		paths: o.models, store: o.store, state: s, aliases: o.aliases, digests: d, said: map[string]bool{},
	}, nil
}

// all gives the models, the first named first.
func (c *catalog) all() []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > time.Second {
		c.entries, c.looked = c.look(), time.Now()
	}
	return c.entries
}

// changed tells that the list is not what it was.
func (c *catalog) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

// find gives the model of a name: as it is listed, without ":latest", with ".gguf", in upper or lower case. Without a
// name it is the only model.
func (c *catalog) find(name string) (*entry, error) {
	entries := c.all()
	if name == "" {
		if len(entries) == 1 {
			return entries[0], nil
		}
		return nil, badRequest("model", "model is missing")
	}
	wanted := plainName(name)
	if model, is := c.aliases[wanted]; is {
		wanted = plainName(model)
	}
	for _, e := range entries {
		if plainName(e.name) == wanted {
			return e, nil
		}
	}
	return nil, notFound("model_not_found", "model %q not found", name)
}

// plainName is what matters of a name.
func plainName(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), ":latest"), ".gguf")
}

// laterPart is the name of a split file's part but for the first.
var laterPart = regexp.MustCompile(`-(\d{5})-of-\d{5}\.gguf$`)

func (c *catalog) look() []*entry {
	var entries []*entry
	for _, p := range c.paths {
		entries = append(entries, c.lookAt(p)...)
	}
	if c.store != "" {
		entries = append(entries, byName(readStore(c.store, c.complain))...)
	}
	entries = append(entries, byName(c.state.entries(c.digests, c.complain))...)
	seen := map[string]bool{}
	var unique []*entry
	for _, e := range entries {
		key := strings.ToLower(e.tagged())
		if seen[key] {
			c.complain(fmt.Errorf("%s: another model has the name %s already", e.path, e.name))
			continue
		}
		seen[key] = true
		unique = append(unique, e)
	}
	return unique
}

func (c *catalog) lookAt(p string) []*entry {
	info, err := os.Stat(p)
	if err != nil {
		c.complain(err)
		return nil
	}
	if info.Mode().IsRegular() {
		return []*entry{c.ofFile(p, info)}
	}
	if !info.IsDir() {
		c.complain(fmt.Errorf("%s is neither a file nor a folder", p))
		return nil
	}
	files, err := filepath.Glob(filepath.Join(globEscape(p), "*.gguf"))
	if err != nil {
		c.complain(err)
		return nil
	}
	var entries []*entry
	for _, file := range files {
		if m := laterPart.FindStringSubmatch(file); m != nil && m[1] != "00001" {
			continue
		}
		if info, err := os.Stat(file); err != nil {
			c.complain(err)
		} else if info.Mode().IsRegular() {
			entries = append(entries, c.ofFile(file, info))
		}
	}
	return entries
}

// globEscape lets a folder's name stand for itself in a pattern.
func globEscape(s string) string {
	return regexp.MustCompile(`[\\*?\[]`).ReplaceAllString(s, `\$0`)
}

func (c *catalog) ofFile(p string, info os.FileInfo) *entry {
	return &entry{
		name: strings.TrimSuffix(filepath.Base(p), ".gguf"), path: p, size: info.Size(), modified: info.ModTime(),
		digest: c.digests.of(p, info),
	}
}

func (c *catalog) complain(err error) {
	if !c.said[err.Error()] {
		c.said[err.Error()] = true
		slog.Warn("a model is left out", "error", err)
	}
}
