package main

import "net/http"

func (s *server) openAIEntry(e *entry) map[string]any {
	m := map[string]any{"id": e.name, "object": "model", "created": e.modified.Unix(), "owned_by": "rekindle"}
	if f, err := s.facts.of(e.path); err == nil {
		m["meta"] = map[string]any{
			"n_ctx_train": f.info.CtxTrain, "n_embd": f.info.Embedding, "n_params": f.info.Params, "n_vocab": f.info.Vocab,
			"size": f.info.Bytes,
		}
	}
	return m
}

func (s *server) openAIModels(w http.ResponseWriter, r *http.Request) error {
	data := []any{}
	for _, e := range s.catalog.all() {
		data = append(data, s.openAIEntry(e))
	}
	return writeJSON(w, map[string]any{"object": "list", "data": data})
}

func (s *server) openAIModel(w http.ResponseWriter, r *http.Request) error {
	e, err := s.catalog.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, s.openAIEntry(e))
}
