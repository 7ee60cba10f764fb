package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// names are those of /api/tags.
func (r *rig) names() string {
	r.Helper()
	_, body, _ := r.do("GET", "/api/tags", "")
	list, _ := r.object(body)["models"].([]any)
	var names []string
	for _, m := range list {
		names = append(names, fmt.Sprint(at(m, "name")))
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

// wants does a request and checks its status.
func (r *rig) wants(status int, method, path string, body any) string {
	r.Helper()
	text, is := body.(string)
	if !is {
		b, err := json.Marshal(body)
		if err != nil {
			r.Fatal(err)
		}
		text = string(b)
	}
	got, answer, _ := r.do(method, path, text)
	if got != status {
		r.Errorf("%s %s %.200s: %d %s", method, path, text, got, answer)
	}
	return string(answer)
}

// Names are made, copied and deleted over a store that stays as it is.
func TestManage(t *testing.T) {
	store := lay(t)
	before := picture(t, store)
	dir := t.TempDir()
	change := func(o *options) { o.store, o.state = store, dir }
	r := start(t, change)
	r.wants(200, "POST", "/api/copy", fields{"source": "bible:5m", "destination": "mine"})
	lines := r.events("/api/create", fields{
		"model": "prophet:v1", "from": "bible:5m", "system": "Speak.", "parameters": fields{"num_predict": 3, "stop": "Amen"},
	})
	if at(lines[len(lines)-1], "status") != "success" {
		t.Error(lines)
	}
	if got := r.names(); !strings.Contains(got, "mine:latest") || !strings.Contains(got, "prophet:v1") {
		t.Error(got)
	}
	show := r.ask("/api/show", fields{"model": "prophet:v1"})
	parameters := fmt.Sprint(show["parameters"])
	if show["system"] != "Speak." || !strings.Contains(parameters, "num_gpu") || strings.Contains(parameters, "Selah") {
		t.Error(show)
	}
	said := fields{"model": "prophet:v1", "prompt": "unto Moses,", "stream": false}
	if m := r.ask("/api/generate", said); m["eval_count"] != 3.0 {
		t.Error(m)
	}
	said["model"] = "mine"
	if m := r.ask("/api/generate", said); m["eval_count"] != 5.0 {
		t.Error(m)
	}
	// Both are the store's file, so one model is loaded.
	if n := len(r.server.fleet.all()); n != 1 {
		t.Error(n, "models are loaded")
	}
	// They are there after a restart.
	again := start(t, change)
	if got := again.names(); got != r.names() {
		t.Error(got)
	}
	again.wants(200, "DELETE", "/api/delete", fields{"model": "mine"})
	again.wants(404, "DELETE", "/api/delete", fields{"model": "mine"})
	if got := again.names(); strings.Contains(got, "mine") {
		t.Error(got)
	}
	// What this server only reads is neither deleted nor replaced.
	for _, name := range []string{"bible:5m", "someone/bible", bible} {
		again.wants(403, "DELETE", "/api/delete", fields{"model": name})
		again.wants(400, "POST", "/api/copy", fields{"source": "prophet:v1", "destination": name})
		again.wants(400, "POST", "/api/create", fields{"from": "prophet:v1", "model": name})
	}
	if after := picture(t, store); after != before {
		t.Errorf("the store was changed:\n%s\n%s", before, after)
	}
}

// A client sends a file and makes a model of it; the file goes with the model.
func TestUpload(t *testing.T) {
	dir := t.TempDir()
	r := start(t, func(o *options) { o.state, o.upload = dir, 8<<20 })
	text, err := os.ReadFile(modelPath())
	if err != nil {
		t.Fatal(err)
	}
	// One that is not here yet: bytes behind the tensors do not matter.
	text = append(text, make([]byte, 32)...)
	sum := sha256.Sum256(text)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	r.wants(404, "HEAD", "/api/blobs/"+digest, "")
	r.wants(404, "POST", "/api/create", fields{"model": "sent", "files": fields{"x.gguf": digest}})
	r.wants(400, "POST", "/api/blobs/"+digest, string(text[1:]))
	r.wants(413, "POST", "/api/blobs/"+digest, string(text)+strings.Repeat(" ", 8<<20))
	r.wants(201, "POST", "/api/blobs/"+digest, string(text))
	r.wants(200, "HEAD", "/api/blobs/"+digest, "")
	r.wants(200, "POST", "/api/create", fields{"model": "sent", "files": fields{"x.gguf": digest}, "stream": false})
	if m := r.ask("/api/generate", fields{"model": "sent", "prompt": "a", "stream": false, "options": fields{"num_predict": 2}}); m["eval_count"] != 2.0 {
		t.Error(m)
	}
	r.wants(200, "POST", "/api/copy", fields{"source": "sent", "destination": "twice"})
	r.wants(200, "DELETE", "/api/delete", fields{"model": "sent"})
	r.wants(200, "HEAD", "/api/blobs/"+digest, "")
	r.wants(200, "DELETE", "/api/delete", fields{"model": "twice"})
	r.wants(404, "HEAD", "/api/blobs/"+digest, "")
	if left, err := filepath.Glob(filepath.Join(dir, "blobs", "*")); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	r.eventually("unloaded", func() bool { return len(r.server.fleet.all()) == 0 })
	// A file of the command line need not be sent.
	own, err := hash(modelPath())
	if err != nil {
		t.Fatal(err)
	}
	r.wants(200, "HEAD", "/api/blobs/sha256:"+own, "")
	r.wants(200, "POST", "/api/create", fields{"model": "other", "files": fields{"x.gguf": "sha256:" + own}, "stream": false})
	r.ask("/api/show", fields{"model": "other"})
}

// A template of a client's own is used if it is Jinja; Ollama's own form is named as ignored.
func TestOwnTemplate(t *testing.T) {
	r := start(t, func(o *options) { o.state = t.TempDir() })
	jinja := "{% for m in messages %}[{{ m.content }}]{% endfor %}"
	r.wants(200, "POST", "/api/create", fields{"model": "jinja", "from": bible, "template": jinja})
	said := fields{"model": "jinja", "messages": []any{fields{"role": "user", "content": "And"}}}
	if m := r.ask("/apply-template", said); m["prompt"] != "[And]" {
		t.Error(m)
	}
	r.wants(200, "POST", "/api/create", fields{"model": "go", "from": bible, "template": "{{ .Prompt }}"})
	if m := r.ask("/api/show", fields{"model": "go"}); at(m, "rekindle_ignored_layers", 0) != "template" {
		t.Error(m)
	}
}

func TestManageBadInput(t *testing.T) {
	zeros := "sha256:" + strings.Repeat("0", 64)
	without := start(t, nil)
	for _, c := range []struct {
		method, path string
		body         fields
	}{
		{"POST", "/api/copy", fields{"source": bible, "destination": "x"}},
		{"POST", "/api/create", fields{"model": "x", "from": bible}},
		{"DELETE", "/api/delete", fields{"model": bible}},
		{"POST", "/api/blobs/" + zeros, nil},
	} {
		if said := without.wants(501, c.method, c.path, c.body); !strings.Contains(said, "--state") {
			t.Error(said)
		}
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.gguf")
	if err := os.WriteFile(bad, []byte("GGUF and no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, func(o *options) { o.models, o.state = append(o.models, bad), dir })
	for _, c := range []struct {
		body   fields
		status int
	}{
		{fields{"from": bible}, 400},
		{fields{"model": "x"}, 400},
		{fields{"model": "../x", "from": bible}, 400},
		{fields{"model": "a/../b", "from": bible}, 400},
		{fields{"model": "/etc/x", "from": bible}, 400},
		{fields{"model": "a/b/c/d", "from": bible}, 400},
		{fields{"model": "x:y:z", "from": bible}, 400},
		{fields{"model": "x\x00", "from": bible}, 400},
		{fields{"model": strings.Repeat("x", 300), "from": bible}, 400},
		{fields{"model": "x", "from": "/etc/passwd"}, 404},
		{fields{"model": "x", "from": "bad"}, 400},
		{fields{"model": "x", "files": fields{"a": zeros}}, 404},
		{fields{"model": "x", "files": fields{"a": "../../etc/passwd"}}, 400},
		{fields{"model": "x", "files": fields{"a": 1}}, 400},
		{fields{"model": "x", "files": fields{"a": zeros, "b": zeros}}, 501},
		{fields{"model": "x", "from": bible, "files": fields{"a": zeros}}, 400},
		{fields{"model": "x", "from": bible, "quantize": "q4_0"}, 501},
		{fields{"model": "x", "from": bible, "adapters": fields{"a": zeros}}, 501},
		{fields{"model": "x", "from": bible, "parameters": fields{"temperature": "hot"}}, 400},
		{fields{"model": "x", "from": bible, "system": strings.Repeat("a", maxManifest+1)}, 400},
		{fields{"model": "x", "modelfile": "FROM x"}, 501},
	} {
		r.wants(c.status, "POST", "/api/create", c.body)
	}
	r.wants(400, "POST", "/api/copy", fields{"source": bible, "destination": "../x"})
	r.wants(404, "POST", "/api/copy", fields{"source": "nobody", "destination": "x"})
	r.wants(404, "DELETE", "/api/delete", fields{"model": "nobody"})
	r.wants(400, "HEAD", "/api/blobs/sha256:..%2F..%2Fetc%2Fpasswd", "")
	r.wants(400, "POST", "/api/blobs/sha256:..%2F..%2Fetc%2Fpasswd", "x")
	r.wants(501, "POST", "/api/pull", fields{"model": "x"})
	if _, err := openState(dir); err != nil {
		t.Error(err)
	}
	// Names that are broken are not lost by going on without them.
	if err := os.WriteFile(filepath.Join(dir, "models.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(dir); err == nil {
		t.Error("a broken file of names was taken")
	}
}

func TestLoadUnload(t *testing.T) {
	r := start(t, nil)
	r.ask("/models/load", fields{"model": bible})
	if n := len(r.server.fleet.all()); n != 1 {
		t.Error(n, "models are loaded")
	}
	r.ask("/models/unload", fields{"model": bible})
	r.eventually("unloaded", func() bool { return len(r.server.fleet.all()) == 0 })
	r.wants(http.StatusNotFound, "POST", "/models/load", fields{"model": "nobody"})
	r.wants(http.StatusNotFound, "POST", "/models/unload", fields{"model": "nobody"})
}
