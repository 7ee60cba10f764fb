package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// lease is a request's hold on a loaded model.
type lease struct {
	*loaded
	// entry is the model as the request names it; two names may share a file.
	entry *entry
	// waited is the time until the model was there.
	waited  time.Duration
	release func()
}

// use gives a loaded model of a name. Whoever calls it calls release.
func (s *server) use(ctx context.Context, name string, p purpose, keep keepAlive, w wishes) (*lease, error) {
	e, err := s.catalog.find(name)
	if err != nil {
		return nil, err
	}
	return s.useEntry(ctx, e, p, keep, w)
}

func (s *server) useEntry(ctx context.Context, e *entry, p purpose, keep keepAlive, w wishes) (*lease, error) {
	began := time.Now()
	wanted := want{entry: e, purpose: p}
	numCtx := w.NumCtx
	if numCtx == nil {
		numCtx = e.params.NumCtx
	}
	if numCtx != nil {
		if *numCtx < 1 || *numCtx > math.MaxUint32 {
			return nil, badRequest("num_ctx", "num_ctx is %d, it must be at least 1", *numCtx)
		}
		wanted.context = uint32(*numCtx)
	}
	l, _, err := s.fleet.acquire(ctx, wanted, keep.or(s.options.keepAlive))
	if err != nil {
		return nil, err
	}
	return &lease{l, e, time.Since(began), func() { s.fleet.release(l) }}, nil
}

// chatParams are the things that a prompt is made with besides the messages.
type chatParams struct {
	tools     json.RawMessage
	variables map[string]any
	// choice tells if tools may or must be called: auto (also if empty), none, required, or function, the one named.
	choice, function string
	// oneCall allows one call only.
	oneCall bool
	// template is a Jinja template in place of the file's.
	template string
}

// templateFor is the template in place of the file's: the request's, or the model's own one if that is Jinja. Ollama
// writes its templates in Go's language, which is not read here.
func (e *entry) templateFor(p chatParams) string {
	if p.template == "" && e.jinja() {
		return e.template
	}
	return p.template
}

func (e *entry) jinja() bool { return strings.Contains(e.template, "{%") }

// templated has a chat template: a loaded model, or a file.
type templated interface {
	Chat([]rekindle.Message, rekindle.ChatOptions) (string, error)
}

// render makes the prompt of a conversation. plain tells that no template made it, so that it begins as any text does.
func (e *entry) render(by templated, messages []chatMessage, p chatParams) (prompt string, plain bool, err error) {
	list, err := asMessages(messages)
	if err != nil {
		return "", false, err
	}
	if e.system != "" && (len(list) == 0 || list[0].Role != "system") {
		list = append([]rekindle.Message{{Role: "system", Content: e.system}}, list...)
	}
	o := rekindle.ChatOptions{TemplateText: e.templateFor(p), Tools: p.tools}
	if len(p.variables) > 0 {
		if o.Variables, err = json.Marshal(p.variables); err != nil {
			return "", false, err
		}
	}
	prompt, err = by.Chat(list, o)
	if statusOf(err) == rekindle.NotFound {
		o.TemplateText = plainTemplate
		prompt, err = by.Chat(list, o)
		plain = true
	}
	return prompt, plain, err
}

// prompt is the prompt of a conversation, as text and as tokens.
type prompt struct {
	text   string
	tokens []int32
}

// chatPrompt makes the prompt of a conversation.
func (l *lease) chatPrompt(messages []chatMessage, p chatParams) (prompt, error) {
	text, plain, err := l.entry.render(l.model, messages, p)
	if err != nil {
		return prompt{}, err
	}
	tokens, err := l.model.TokenizeWith(text, rekindle.TextOptions{Special: plain, ParseSpecial: true})
	return prompt{text, tokens}, err
}

// task is all that a generation is made of.
type task struct {
	// text is the prompt; tokens stand for it if there are some.
	text       string
	tokens     []int32
	wishes     wishes
	constraint *constraint
	// grammar holds the text to calls of tools; nil if it is free.
	grammar *rekindle.Grammar
	// logprobs is the number of most likely tokens to tell of each token; 0 for none.
	logprobs int
}

// chatTask makes the task of an answer, and the reader of it.
func (l *lease) chatTask(
	messages []chatMessage, p chatParams, w wishes, c *constraint,
) (t task, reader replyReader, err error) {
	switch {
	case p.choice == "none":
		p.tools = nil
	case p.forced() && p.tools == nil:
		return t, nil, badRequest("tool_choice", "tool_choice forces a call, and there are no tools")
	}
	made, err := l.chatPrompt(messages, p)
	if err != nil {
		return t, nil, err
	}
	return l.answerTo(made, p, w, c)
}

// answerTo makes the task of an answer to a prompt, and the reader of it.
func (l *lease) answerTo(made prompt, p chatParams, w wishes, c *constraint) (t task, r replyReader, err error) {
	if r, err = l.reader(p, made.text, len(w.Stop) > 0); err != nil {
		return t, nil, err
	}
	t = task{text: made.text, tokens: made.tokens, wishes: w}
	switch {
	case c != nil && p.forced():
		return t, nil, badRequest("tool_choice", "tool_choice forces a call, and a grammar or schema is given as well")
	case c == nil && (p.tools != nil || p.forced()):
		t.grammar, err = callGrammar(r, p)
		return t, r, err
	case c != nil:
		own := *c
		own.after = thoughtsEnd(made.text, r)
		t.constraint = &own
	}
	return t, r, nil
}

// params makes the library's parameters. The grammar among them is the caller's to close.
func (l *lease) params(t task) (p rekindle.GenerationParams, err error) {
	if p, err = t.wishes.generation(); err != nil {
		return p, err
	}
	p.Tokens, p.ParseSpecial = t.tokens, true
	if len(t.tokens) == 0 {
		p.Prompt = t.text
	}
	p.Sampler.Logprobs, p.Grammar = uint32(t.logprobs), t.grammar
	if t.constraint != nil {
		o := rekindle.GrammarOptions{}
		if t.constraint.after != "" {
			o.TriggerTexts = []string{t.constraint.after}
		}
		if p.Grammar, err = l.model.NewGrammar(t.constraint.kind, t.constraint.source, o); err != nil {
			return p, err
		}
	}
	return p, nil
}

// begin starts n generations of a task that differ in their seeds. stop frees what they need, after their end.
func (l *lease) begin(ctx context.Context, t task, n int) (jobs []*job, stop func(), err error) {
	p, err := l.params(t)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop = func() {
		cancel()
		if p.Grammar != nil {
			p.Grammar.Close()
		}
	}
	for i := range n {
		q := p
		q.Sampler.Seed += uint64(i)
		j, err := l.start(ctx, q)
		if err != nil {
			stop()
			return nil, nil, explain(err, l)
		}
		jobs = append(jobs, j)
	}
	return jobs, stop, nil
}

// explain adds to a full context what the client can do.
func explain(err error, l *lease) error {
	var e *rekindle.Error
	if !errors.As(err, &e) || e.Status != rekindle.ContextFull {
		return err
	}
	f := asFailure(e)
	f.message = fmt.Sprintf("%s; the model's context is %d tokens", f.message, l.summary.Ctx)
	return f
}

// ended tells OpenAI's and Ollama's word for the end of a generation.
func ended(stop rekindle.StopReason) string {
	switch stop {
	case rekindle.StopLimit, rekindle.StopContextFull:
		return "length"
	}
	return "stop"
}

// reading is the comment while a prompt is read.
func reading(i jobInfo) string {
	return fmt.Sprintf("reading the prompt: %d of %d tokens", i.Read, i.Prompt)
}

// tokenText is the text of one token, as bytes; a character may have several tokens.
func (l *lease) tokenText(id int32) string {
	text, err := l.model.Detokenize([]int32{id}, rekindle.TextOptions{ParseSpecial: true})
	if err != nil {
		return ""
	}
	return text
}

// valid makes a text fit for JSON.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
