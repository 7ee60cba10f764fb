package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// Slots are the sequences of a loaded model. With --slot-save-path they are saved when a model is unloaded and when the
// server ends, and are there again after the next load, so a conversation is not read anew. A client may also save and
// restore them by name.

// slotFile is where a sequence of a model's file is kept. The library checks that it is of that very model.
func slotFile(dir, model string, seq int) string {
	sum := sha256.Sum256([]byte(model))
	return filepath.Join(dir, fmt.Sprintf("%s-%d.sequence", hex.EncodeToString(sum[:8]), seq))
}

// saveSlots saves all sequences that have something, and removes what was kept of the others.
func saveSlots(dir, path string, m *rekindle.Model, slots int) {
	saved := 0
	for seq := range slots {
		file := slotFile(dir, path, seq)
		n, err := m.Length(int32(seq))
		if err == nil && n == 0 {
			// What lies there is of an earlier time.
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				slog.Warn("a saved sequence cannot be removed", "error", err)
			}
			continue
		}
		if err == nil {
			err = m.SaveSequence(int32(seq), file)
		}
		if err != nil {
			slog.Warn("a sequence is not saved", "sequence", seq, "error", err)
			continue
		}
		saved++
	}
	slog.Info("saved sequences", "path", path, "sequences", saved)
}

// restoreSlots brings back what was saved. What does not fit this model is left out.
func restoreSlots(dir, path string, m *rekindle.Model, slots int) {
	for seq := range slots {
		err := bringBack(m, int32(seq), slotFile(dir, path, seq))
		if s := statusOf(err); err != nil && s != rekindle.NotFound {
			slog.Warn("a saved sequence is not restored", "sequence", seq, "error", err)
		}
	}
}

// bringBack loads a sequence and leaves it to the generations that come.
func bringBack(m *rekindle.Model, seq int32, file string) error {
	if err := m.LoadSequence(seq, file); err != nil {
		return err
	}
	return m.Leave(seq)
}

// writer gives a model that is loaded to write; unlike others of a request it is not loaded for this.
func (s *server) writer(r *http.Request) (*lease, error) {
	e, err := s.catalog.find(r.URL.Query().Get("model"))
	if err != nil {
		return nil, err
	}
	return s.useEntry(r.Context(), e, toWrite, keepAlive{}, wishes{})
}

func (s *server) slots(w http.ResponseWriter, r *http.Request) error {
	l, err := s.writer(r)
	if err != nil {
		return err
	}
	defer l.release()
	list := make([]any, l.engine.slots)
	err = l.do(r.Context(), func() error {
		at := l.working()
		for seq := range list {
			n, err := l.model.Length(int32(seq))
			if err != nil {
				return err
			}
			list[seq] = map[string]any{"id": seq, "n_ctx": l.summary.Ctx, "n_tokens": n, "is_processing": at[int32(seq)]}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeJSON(w, list)
}

// slotName is a name that stays in its folder.
var slotName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}$`)

func (s *server) slot(w http.ResponseWriter, r *http.Request) error {
	seq, err := strconv.ParseInt(r.PathValue("id"), 10, 31)
	if err != nil {
		return badRequest("id", "%q is no slot's number", r.PathValue("id"))
	}
	action := r.URL.Query().Get("action")
	var q struct {
		Filename string `json:"filename"`
	}
	if action == "save" || action == "restore" {
		if s.options.slotPath == "" {
			return notThere("slots are saved where the server was started with --slot-save-path")
		}
		if err := readJSON(r, &q); err != nil {
			return err
		}
		if !slotName.MatchString(q.Filename) {
			return badRequest("filename", "filename is %q; letters, digits, dots, _ and - are possible", q.Filename)
		}
	}
	l, err := s.writer(r)
	if err != nil {
		return err
	}
	defer l.release()
	if seq < 0 || int(seq) >= l.engine.slots {
		return badRequest("id", "there is no slot %d, 0 to %d are", seq, l.engine.slots-1)
	}
	// Files that the server keeps for itself end in another way.
	file := filepath.Join(s.options.slotPath, q.Filename+".slot")
	m := map[string]any{"id_slot": seq, "filename": q.Filename}
	err = l.do(r.Context(), func() error {
		if action != "save" && l.working()[int32(seq)] {
			return &failure{http.StatusConflict, fmt.Sprintf("slot %d is at work", seq), "invalid_request_error", "slot_busy", "id"}
		}
		switch action {
		case "save":
			if err := l.model.SaveSequence(int32(seq), file); err != nil {
				return err
			}
			return tell(m, "n_saved", l.model, seq)
		case "restore":
			if err := bringBack(l.model, int32(seq), file); err != nil {
				return err
			}
			return tell(m, "n_restored", l.model, seq)
		case "erase":
			if err := tell(m, "n_erased", l.model, seq); err != nil {
				return err
			}
			return l.model.Remove(int32(seq), 0, -1)
		}
		return badRequest("action", "action is %q; save, restore and erase are known", action)
	})
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

// tell adds the length of a sequence to an answer.
func tell(m map[string]any, name string, model *rekindle.Model, seq int64) error {
	n, err := model.Length(int32(seq))
	m[name] = n
	return err
}
