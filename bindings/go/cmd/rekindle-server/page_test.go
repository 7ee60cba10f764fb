package main

import (
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	r := start(t, nil)
	status, body, h := r.do("GET", "/", "", "Accept", "text/html,application/xhtml+xml")
	if status != 200 || !strings.Contains(string(body), "<title>rekindle") || h.Get("Content-Security-Policy") == "" {
		t.Error(status, h)
	}
	for name, kind := range map[string]string{
		"main.js": "javascript", "chat.js": "javascript", "models.js": "javascript", "plan.js": "javascript",
		"style.css": "text/css", "icon.svg": "image/svg",
	} {
		if status, _, h := r.do("GET", "/page/"+name, ""); status != 200 || !strings.Contains(h.Get("Content-Type"), kind) {
			t.Error(name, status, h)
		}
	}
	for _, path := range []string{"/page/nothing", "/page/..%2fserver.go", "/page/"} {
		if status, _, _ := r.do("GET", path, ""); status < 400 {
			t.Error(path, status)
		}
	}
}

func TestPlanned(t *testing.T) {
	r := start(t, nil)
	own := r.ask("/plan", fields{"model": bible, "n_ctx": 256})
	if at(own, "plan", "fits") != true || at(own, "plan", "n_ctx") != 256.0 || len(own["reserved"].(fields)) != 0 {
		t.Error(own)
	}
	// What is loaded counts as taken.
	r.ask("/api/generate", fields{"model": bible})
	if m := r.ask("/plan", fields{"model": bible}); len(m["reserved"].(fields)) != 1 {
		t.Error(m)
	}
	cards := r.ask("/plan", fields{"model": bible, "devices": "k80:2,cpu", "n_seq_max": 4, "remedies": true})
	if list, _ := at(cards, "plan", "devices").([]any); len(list) != 3 {
		t.Error(cards)
	}
	// One that does not fit is an answer as well.
	if m := r.ask("/plan", fields{"model": bible, "n_ctx": 2_000_000_000}); at(m, "plan", "fits") != false {
		t.Error(m)
	}
	for _, body := range []string{`{"devices":"k81"}`, `{"devices":"` + strings.Repeat("k80,", 2000) + `"}`, `{"n_ctx":99999999999}`, `{"model":"x"}`} {
		if status, text, _ := r.do("POST", "/plan", body); status != 400 && status != 404 {
			t.Error(status, string(text))
		}
	}
}
