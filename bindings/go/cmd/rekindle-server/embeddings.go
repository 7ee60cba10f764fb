package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// inputs are one text or several, as texts or as token ids.
type inputs = prompts

// mostTexts of one request.
const mostTexts = 2048

// embed makes a row of each text, in batches of as many as there are sequences. It gives the rows and the number of
// tokens.
func (l *lease) embed(ctx context.Context, list inputs, normalize, truncate bool) (rows [][]float32, tokens int, err error) {
	longest := int(min(l.summary.Ctx, l.summary.Batch))
	texts := make([][]int32, len(list))
	for i, in := range list {
		t := in.tokens
		if len(t) == 0 {
			if t, err = l.model.Tokenize(in.text); err != nil {
				return nil, 0, err
			}
		}
		if len(t) == 0 {
			return nil, 0, badRequest("input", "text %d has no tokens", i)
		}
		if len(t) > longest {
			if !truncate {
				f := badRequest("input", "text %d has %d tokens, %d at most are possible", i, len(t), longest)
				f.code = "context_length_exceeded"
				return nil, 0, f
			}
			t = t[:longest]
		}
		texts[i] = t
		tokens += len(t)
	}
	for len(texts) > 0 {
		n, sum := 0, 0
		for n < len(texts) && n < l.slots && sum+len(texts[n]) <= longest {
			sum += len(texts[n])
			n++
		}
		err := l.do(ctx, func() error {
			part, err := l.model.Embed(texts[:n], normalize)
			rows = append(rows, part...)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		texts = texts[n:]
	}
	return rows, tokens, nil
}

func checkInputs(list inputs) error {
	switch {
	case len(list) == 0:
		return badRequest("input", "input is missing")
	case len(list) > mostTexts:
		return badRequest("input", "there are %d texts, %d at most are possible", len(list), mostTexts)
	}
	return nil
}

func (s *server) openAIEmbeddings(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model          string    `json:"model"`
		Input          inputs    `json:"input"`
		EncodingFormat string    `json:"encoding_format"`
		Dimensions     *int64    `json:"dimensions"`
		KeepAlive      keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if err := checkInputs(q.Input); err != nil {
		return err
	}
	if q.EncodingFormat != "" && q.EncodingFormat != "float" && q.EncodingFormat != "base64" {
		return badRequest("encoding_format", "encoding_format is %q; float and base64 are known", q.EncodingFormat)
	}
	l, err := s.use(r.Context(), q.Model, toEmbed, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	defer l.release()
	rows, tokens, err := l.embed(r.Context(), q.Input, true, false)
	if err != nil {
		return err
	}
	if rows, err = shorten(rows, q.Dimensions); err != nil {
		return err
	}
	data := make([]any, len(rows))
	for i, row := range rows {
		m := map[string]any{"object": "embedding", "index": i, "embedding": row}
		if q.EncodingFormat == "base64" {
			m["embedding"], m["encoding_format"] = base64Row(row), "base64"
		}
		data[i] = m
	}
	return writeJSON(w, map[string]any{
		"object": "list", "data": data, "model": l.entry.name,
		"usage": map[string]any{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

// shorten keeps the first elements of rows and makes their length 1 again.
func shorten(rows [][]float32, dimensions *int64) ([][]float32, error) {
	if dimensions == nil {
		return rows, nil
	}
	for i, row := range rows {
		if *dimensions < 1 || *dimensions > int64(len(row)) {
			return nil, badRequest("dimensions", "dimensions is %d, 1 to %d are possible", *dimensions, len(row))
		}
		rows[i] = row[:*dimensions]
		var sum float64
		for _, v := range rows[i] {
			sum += float64(v) * float64(v)
		}
		if sum > 0 {
			for j := range rows[i] {
				rows[i][j] = float32(float64(rows[i][j]) / math.Sqrt(sum))
			}
		}
	}
	return rows, nil
}

// base64Row is a row's bytes, little-endian.
func base64Row(row []float32) string {
	bytes := make([]byte, 0, 4*len(row))
	for _, v := range row {
		bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(bytes)
}

func (s *server) ollamaEmbed(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	var q struct {
		Model      string    `json:"model"`
		Input      inputs    `json:"input"`
		Truncate   *bool     `json:"truncate"`
		Dimensions *int64    `json:"dimensions"`
		Options    wishes    `json:"options"`
		KeepAlive  keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if err := checkInputs(q.Input); err != nil {
		return err
	}
	l, err := s.use(r.Context(), q.Model, toEmbed, q.KeepAlive, q.Options)
	if err != nil {
		return err
	}
	defer l.release()
	rows, tokens, err := l.embed(r.Context(), q.Input, true, q.Truncate == nil || *q.Truncate)
	if err != nil {
		return err
	}
	if rows, err = shorten(rows, q.Dimensions); err != nil {
		return err
	}
	return writeJSON(w, map[string]any{
		"model": l.entry.tagged(), "embeddings": rows, "total_duration": time.Since(began).Nanoseconds(),
		"load_duration": l.waited.Nanoseconds(), "prompt_eval_count": tokens,
	})
}

// ollamaEmbeddings is the older endpoint: one text, and its row as it is.
func (s *server) ollamaEmbeddings(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model     string          `json:"model"`
		Prompt    json.RawMessage `json:"prompt"`
		Options   wishes          `json:"options"`
		KeepAlive keepAlive       `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	var text string
	if given(q.Prompt) && json.Unmarshal(q.Prompt, &text) != nil {
		return badRequest("prompt", "prompt is no text")
	}
	l, err := s.use(r.Context(), q.Model, toEmbed, q.KeepAlive, q.Options)
	if err != nil {
		return err
	}
	defer l.release()
	row := []float32{}
	if text != "" {
		rows, _, err := l.embed(r.Context(), inputs{{text: text}}, false, true)
		if err != nil {
			return err
		}
		row = rows[0]
	}
	return writeJSON(w, map[string]any{"embedding": row})
}
