package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes a blob and gives its layer.
func put(t *testing.T, dir, kind string, text []byte) layer {
	t.Helper()
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256-"+digest), text, 0o444); err != nil {
		t.Fatal(err)
	}
	return layer{"application/vnd.ollama.image." + kind, "sha256:" + digest, int64(len(text))}
}

// lay lays a store out as Ollama does.
func lay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o755); err != nil {
		t.Fatal(err)
	}
	model, err := os.ReadFile(modelPath())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) {
		file := filepath.Join(dir, "manifests", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	layers := []layer{
		put(t, dir, "model", model), put(t, dir, "system", []byte("And the LORD said.")),
		put(t, dir, "params", []byte(`{"num_predict": 5, "stop": ["Amen", "Selah"], "temperature": 0, "num_gpu": 7}`)),
		put(t, dir, "license", []byte("MIT")), put(t, dir, "projector", []byte("no")),
	}
	whole, err := json.Marshal(manifest{Config: put(t, dir, "config", []byte("{}")), Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	write("registry.ollama.ai/library/bible/5m", whole)
	write("registry.ollama.ai/someone/bible/latest", whole)
	write("hub.example/a/b/c", whole)
	// Broken ones, which must not hide the others.
	write("registry.ollama.ai/library/bad/json", []byte("{"))
	write("registry.ollama.ai/library/bad/path", []byte(`{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../../etc/passwd"}]}`))
	write("registry.ollama.ai/library/bad/gone", []byte(`{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`))
	write("registry.ollama.ai/library/bad/none", []byte(`{"layers":[]}`))
	write("registry.ollama.ai/library/.DS_Store", []byte("x"))
	return dir
}

// picture is what a folder has: names, sizes, times and bytes.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum, err := hash(p)
		fmt.Fprintln(&all, p, info.Size(), info.ModTime().UnixNano(), sum)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestStore(t *testing.T) {
	dir := lay(t)
	before := picture(t, dir)
	r := start(t, func(o *options) { o.models, o.store = nil, dir })
	_, body, _ := r.do("GET", "/api/tags", "")
	var names []string
	list, _ := r.object(body)["models"].([]any)
	for _, m := range list {
		names = append(names, fmt.Sprint(at(m, "name")))
	}
	if got := strings.Join(names, " "); got != "bible:5m hub.example/a/b:c someone/bible:latest" {
		t.Error(got)
	}
	if digest, _ := at(list, 0, "digest").(string); len(digest) != 64 {
		t.Error(list)
	}
	show := r.ask("/api/show", fields{"model": "bible:5m"})
	if show["system"] != "And the LORD said." || show["license"] != "MIT" || at(show, "rekindle_ignored_layers", 0) != "projector" ||
		!strings.Contains(fmt.Sprint(show["parameters"]), "num_predict") {
		t.Error(show)
	}
	// The store's parameters and system prompt hold, and a request's own win.
	m := r.ask("/api/chat", fields{"model": "bible:5m", "stream": false, "messages": []any{fields{"role": "user", "content": "unto Moses,"}}})
	if m["eval_count"] != 5.0 || m["prompt_eval_count"].(float64) < 8 {
		t.Error(m)
	}
	m = r.ask("/api/chat", fields{
		"model": "someone/bible", "stream": false, "options": fields{"num_predict": 3},
		"messages": []any{fields{"role": "user", "content": "unto Moses,"}},
	})
	if m["eval_count"] != 3.0 {
		t.Error(m)
	}
	r.ask("/v1/embeddings", fields{"model": "bible:5m", "input": "a"})
	if after := picture(t, dir); after != before {
		t.Errorf("the store was changed:\n%s\n%s", before, after)
	}
}
