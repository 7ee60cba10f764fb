package main

import (
	"net/http"
	"sort"
	"strings"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// pair makes the tokens by which a reranker holds a document against a query: those of its template, if the file has
// one for that, or the query as a text of its own, the separator, and the document with the same end.
func (l *lease) pair(query, document string) ([]int32, error) {
	form, err := l.model.Template("rerank")
	if err == nil {
		text := strings.NewReplacer("{query}", query, "{document}", document).Replace(form)
		return l.model.TokenizeWith(text, rekindle.TextOptions{ParseSpecial: true})
	}
	if statusOf(err) != rekindle.NotFound {
		return nil, err
	}
	v, err := l.model.VocabInfo()
	if err != nil {
		return nil, err
	}
	first, err := l.model.TokenizeWith(query, rekindle.TextOptions{Special: true})
	if err != nil {
		return nil, err
	}
	second, err := l.model.TokenizeWith(document, rekindle.TextOptions{})
	if err != nil {
		return nil, err
	}
	return join(v, first, second), nil
}

// join puts a document behind a query. BERT's texts end with the separator, which is then between the two already;
// others have an end and a separator.
func join(v rekindle.VocabInfo, query, document []int32) []int32 {
	pair := append([]int32{}, query...)
	end := v.EOS
	if n := len(query); n > 0 && v.Sep >= 0 && query[n-1] == v.Sep {
		end = v.Sep
	}
	if v.Sep >= 0 && v.Model != "bert" {
		pair = append(pair, v.Sep)
	}
	pair = append(pair, document...)
	if end >= 0 {
		pair = append(pair, end)
	}
	return pair
}

func (s *server) rerank(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model           string    `json:"model"`
		Query           string    `json:"query"`
		Documents       documents `json:"documents"`
		Texts           documents `json:"texts"`
		TopN            *int64    `json:"top_n"`
		ReturnDocuments bool      `json:"return_documents"`
		KeepAlive       keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if len(q.Documents) == 0 {
		q.Documents = q.Texts
	}
	switch {
	case q.Query == "":
		return badRequest("query", "query is missing")
	case len(q.Documents) == 0:
		return badRequest("documents", "documents is missing")
	case len(q.Documents) > mostTexts:
		return badRequest("documents", "there are %d documents, %d at most are possible", len(q.Documents), mostTexts)
	case q.TopN != nil && *q.TopN < 0:
		return badRequest("top_n", "top_n is %d, it must not be below 0", *q.TopN)
	}
	l, err := s.use(r.Context(), q.Model, toRank, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	defer l.release()
	pairs := make(inputs, len(q.Documents))
	for i, d := range q.Documents {
		if pairs[i].tokens, err = l.pair(q.Query, d); err != nil {
			return err
		}
	}
	rows, tokens, err := l.embed(r.Context(), pairs, false, false)
	if err != nil {
		return err
	}
	results := make([]map[string]any, len(rows))
	for i, row := range rows {
		if len(row) == 0 {
			return notThere("%s gives no score", l.entry.name)
		}
		results[i] = map[string]any{"index": i, "relevance_score": row[0]}
		if q.ReturnDocuments {
			results[i]["document"] = map[string]any{"text": q.Documents[i]}
		}
	}
	sort.SliceStable(results, func(i, j int) bool {
		return results[i]["relevance_score"].(float32) > results[j]["relevance_score"].(float32)
	})
	if q.TopN != nil && *q.TopN < int64(len(results)) {
		results = results[:*q.TopN]
	}
	return writeJSON(w, map[string]any{
		"object": "list", "model": l.entry.name, "results": results,
		"usage": map[string]any{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}
