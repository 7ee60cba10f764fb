package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// completionRequest is that of /v1/completions.
type completionRequest struct {
	openAIWishes
	Prompt   prompts `json:"prompt"`
	Suffix   *string `json:"suffix"`
	Echo     bool    `json:"echo"`
	Logprobs *int64  `json:"logprobs"`
}

// prompts are one prompt or several; each is a text or a list of token ids.
type prompts []promptText

type promptText struct {
	text   string
	tokens []int32
}

func (p *prompts) UnmarshalJSON(b []byte) error {
	var one string
	var many []string
	var ids []int32
	var lists [][]int32
	*p = nil
	switch {
	case string(b) == "null":
	case json.Unmarshal(b, &one) == nil:
		*p = prompts{{text: one}}
	case json.Unmarshal(b, &many) == nil:
		for _, text := range many {
			*p = append(*p, promptText{text: text})
		}
	case json.Unmarshal(b, &ids) == nil:
		*p = prompts{{tokens: ids}}
	case json.Unmarshal(b, &lists) == nil:
		for _, ids := range lists {
			*p = append(*p, promptText{tokens: ids})
		}
	default:
		return badRequest("prompt", "prompt is neither a text, a list of token ids, nor a list of these")
	}
	return nil
}

// mostPrompts of one request.
const mostPrompts = 256

func (s *server) openAICompletions(w http.ResponseWriter, r *http.Request) error {
	var c completionRequest
	if err := readJSON(r, &c); err != nil {
		return err
	}
	n, err := c.answers()
	if err != nil {
		return err
	}
	switch {
	case len(c.Prompt) == 0:
		return badRequest("prompt", "prompt is missing")
	case len(c.Prompt) > mostPrompts || len(c.Prompt)*n > mostPrompts:
		return badRequest("prompt", "there are %d prompts, %d answers at most are possible", len(c.Prompt), mostPrompts)
	}
	if c.Logprobs != nil && (*c.Logprobs < 0 || *c.Logprobs > mostLogprobs) {
		return badRequest("logprobs", "logprobs is %d, 0 to %d are possible", *c.Logprobs, mostLogprobs)
	}
	constraint, err := c.constraint()
	if err != nil {
		return err
	}
	l, err := s.use(r.Context(), c.Model, toWrite, c.KeepAlive, c.wishes)
	if err != nil {
		return err
	}
	defer l.release()
	wishes := c.over(l.entry.params).over(openAI.usualWishes())
	if c.MaxTokens == nil && c.MaxCompletionTokens == nil && c.NPredict == nil && wishes.limit() == 0 {
		// OpenAI's default for texts that are no chat.
		usual := int64(16)
		wishes.MaxTokens = &usual
	}
	a := &completionAnswer{lease: l, request: &c, id: newID("cmpl-"), created: time.Now()}
	for _, p := range c.Prompt {
		t := task{text: p.text, tokens: p.tokens, wishes: wishes, constraint: constraint}
		if c.Suffix != nil && *c.Suffix != "" {
			if t.tokens, err = l.between(p.text, *c.Suffix, nil); err != nil {
				return err
			}
		}
		if c.Logprobs != nil {
			t.logprobs = int(max(*c.Logprobs, 1))
		}
		if wishes.writesNothing() {
			a.empty(n, p)
			continue
		}
		jobs, stop, err := l.begin(r.Context(), t, n)
		if err != nil {
			return err
		}
		defer stop()
		a.add(jobs, p)
	}
	if c.Stream {
		return a.stream(newStream(w, true), s.options.comments)
	}
	return a.whole(w)
}

// completionAnswer is an answer on its way.
type completionAnswer struct {
	*lease
	request *completionRequest
	jobs    []*job
	// echoes are the prompts of the jobs, if they are to be repeated.
	echoes  []string
	id      string
	created time.Time
}

func (a *completionAnswer) echo(p promptText) string {
	if !a.request.Echo {
		return ""
	}
	if len(p.tokens) == 0 {
		return p.text
	}
	var text strings.Builder
	for _, id := range p.tokens {
		text.WriteString(a.tokenText(id))
	}
	return valid(text.String())
}

func (a *completionAnswer) add(jobs []*job, p promptText) {
	for _, j := range jobs {
		a.jobs = append(a.jobs, j)
		a.echoes = append(a.echoes, a.echo(p))
	}
}

// empty adds answers that write nothing.
func (a *completionAnswer) empty(n int, p promptText) {
	for range n {
		a.jobs = append(a.jobs, overAlready())
		a.echoes = append(a.echoes, a.echo(p))
	}
}

func (a *completionAnswer) infos() []jobInfo {
	infos := make([]jobInfo, len(a.jobs))
	for i, j := range a.jobs {
		infos[i] = j.facts()
	}
	return infos
}

// usage counts each prompt once.
func (a *completionAnswer) usage() map[string]any {
	infos := a.infos()
	each := len(infos) / max(len(a.request.Prompt), 1)
	var prompt, written, reused uint32
	for i, info := range infos {
		if i%each == 0 {
			prompt += info.Prompt
			reused += info.Reused
		}
		written += info.Generated
	}
	return map[string]any{
		"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written,
		"prompt_tokens_details": map[string]any{"cached_tokens": reused},
	}
}

// probabilities are those of a completion's tokens, in its own form.
type probabilities struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float32            `json:"token_logprobs"`
	TopLogprobs   []map[string]float32 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

func (a *completionAnswer) take(p *probabilities, t token, offset int) {
	if t.logprobs == nil {
		return
	}
	p.Tokens = append(p.Tokens, valid(a.tokenText(t.logprobs.Chosen.Token)))
	p.TokenLogprobs = append(p.TokenLogprobs, finite(t.logprobs.Chosen.Logprob))
	top := map[string]float32{}
	for _, b := range t.logprobs.Best[:min(int(*a.request.Logprobs), len(t.logprobs.Best))] {
		top[valid(a.tokenText(b.Token))] = finite(b.Logprob)
	}
	p.TopLogprobs = append(p.TopLogprobs, top)
	p.TextOffset = append(p.TextOffset, offset)
}

func (a *completionAnswer) whole(w http.ResponseWriter) error {
	texts := make([]strings.Builder, len(a.jobs))
	found := make([]probabilities, len(a.jobs))
	for n := range texts {
		texts[n].WriteString(a.echoes[n])
	}
	err := readAll(a.jobs, 0, func(n int, t token) error {
		a.take(&found[n], t, texts[n].Len())
		texts[n].WriteString(t.text)
		return nil
	}, nil)
	if err != nil {
		return err
	}
	choices := make([]any, len(a.jobs))
	for n, j := range a.jobs {
		choice := map[string]any{
			"index": n, "text": texts[n].String(), "finish_reason": ended(j.facts().Stop), "logprobs": nil,
		}
		if a.request.Logprobs != nil {
			choice["logprobs"] = found[n]
		}
		choices[n] = choice
	}
	m := head(a.id, "text_completion", a.entry.name, a.created)
	m["choices"], m["usage"], m["timings"] = choices, a.usage(), timings(a.jobs[0].facts())
	return writeJSON(w, m)
}

func (a *completionAnswer) stream(out *stream, comments time.Duration) error {
	wantsUsage := a.request.StreamOptions != nil && a.request.StreamOptions.IncludeUsage
	chunk := func(choices []any) map[string]any {
		m := head(a.id, "text_completion", a.entry.name, a.created)
		m["choices"] = choices
		if wantsUsage {
			m["usage"] = nil
		}
		return m
	}
	piece := func(n int, text string, logprobs any) error {
		return out.send(chunk([]any{map[string]any{
			"index": n, "text": text, "logprobs": logprobs, "finish_reason": nil,
		}}))
	}
	offsets := make([]int, len(a.jobs))
	found := make([]probabilities, len(a.jobs))
	for n, echo := range a.echoes {
		if offsets[n] = len(echo); echo != "" {
			if err := piece(n, echo, nil); err != nil {
				return err
			}
		}
	}
	// flush gives the probabilities that have gathered, as a piece's field.
	flush := func(n int) (logprobs any) {
		if len(found[n].Tokens) > 0 {
			logprobs = found[n]
			found[n] = probabilities{}
		}
		return
	}
	err := readAll(a.jobs, comments, func(n int, t token) error {
		a.take(&found[n], t, offsets[n])
		offsets[n] += len(t.text)
		if t.text == "" {
			return nil
		}
		return piece(n, t.text, flush(n))
	}, func(i jobInfo) error { return out.comment(reading(i)) })
	if err != nil {
		return err
	}
	for n, j := range a.jobs {
		i := j.facts()
		m := chunk([]any{map[string]any{"index": n, "text": "", "logprobs": flush(n), "finish_reason": ended(i.Stop)}})
		m["timings"] = timings(i)
		if err := out.send(m); err != nil {
			return err
		}
	}
	if wantsUsage {
		m := chunk([]any{})
		m["usage"] = a.usage()
		if err := out.send(m); err != nil {
			return err
		}
	}
	return out.done()
}
