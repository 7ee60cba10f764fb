package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A conversation is there again after the server was started anew.
func TestSlotsOverRestart(t *testing.T) {
	dir := t.TempDir()
	change := func(o *options) { o.slotPath = dir }
	r := start(t, change)
	first := r.ask("/v1/chat/completions", chat(nil))
	r.server.close()
	again := start(t, change)
	second := again.ask("/v1/chat/completions", chat(nil))
	if reused := at(second, "usage", "prompt_tokens_details", "cached_tokens"); reused == 0.0 {
		t.Error("nothing was known:", second)
	}
	if at(first, "choices", 0, "message", "content") != at(second, "choices", 0, "message", "content") {
		t.Error(first, second)
	}
	// A damaged file is left out.
	again.server.close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(dir+"/"+f.Name(), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, change).ask("/v1/chat/completions", chat(nil))
}

// Conversations that fill all slots keep nobody waiting after the start, and each is gone on with.
func TestFullSlotsOverRestart(t *testing.T) {
	dir := t.TempDir()
	change := func(o *options) { o.slotPath = dir }
	said := func(n int, more string) fields {
		text := strings.Repeat(fmt.Sprintf("Begat number %d. ", n), 5) + more
		return fields{"model": bible, "prompt": text, "max_tokens": 3, "temperature": 0}
	}
	r := start(t, change)
	written := make([]string, 4)
	done := make(chan int)
	for n := range written {
		go func() {
			written[n], _ = at(r.ask("/v1/completions", said(n, "")), "choices", 0, "text").(string)
			done <- n
		}()
	}
	for range written {
		<-done
	}
	r.server.close()
	if files, err := os.ReadDir(dir); err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	again := start(t, change)
	for n, text := range written {
		m := again.ask("/v1/completions", said(n, text+" And so on."))
		if reused, _ := at(m, "usage", "prompt_tokens_details", "cached_tokens").(float64); reused < 20 {
			t.Error("conversation", n, "was read anew:", at(m, "usage"))
		}
	}
}

func TestSlots(t *testing.T) {
	dir := t.TempDir()
	r := start(t, func(o *options) { o.slotPath = dir })
	r.ask("/v1/chat/completions", chat(nil))
	_, body, _ := r.do("GET", "/slots", "")
	slot := -1
	for i := range 4 {
		if n := at(r.object([]byte(`{"l":`+string(body)+`}`)), "l", i, "n_tokens"); n != 0.0 {
			slot = i
		}
	}
	if slot < 0 {
		t.Fatal("no slot has the conversation:", string(body))
	}
	path := fmt.Sprintf("/slots/%d?action=", slot)
	saved := r.ask(path+"save", fields{"filename": "mine"})
	erased := r.ask(path+"erase", fields{})
	restored := r.ask(path+"restore", fields{"filename": "mine"})
	if saved["n_saved"] != erased["n_erased"] || restored["n_restored"] != saved["n_saved"] || saved["n_saved"] == 0.0 {
		t.Error(saved, erased, restored)
	}
	for path, body := range map[string]string{
		"/slots/0?action=save": `{"filename":"../mine"}`, "/slots/99?action=erase": `{}`, "/slots/x?action=erase": `{}`,
		"/slots/0?action=dance": `{}`, "/slots/1?action=save": `{"filename":""}`,
	} {
		if status, text, _ := r.do("POST", path, body); status != 400 {
			t.Error(path, status, string(text))
		}
	}
	if status, text, _ := r.do("POST", "/slots/0?action=restore", `{"filename":"none"}`); status != 404 {
		t.Error(status, string(text))
	}
}
