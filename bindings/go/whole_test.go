package rekindle

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// Every function of the library has its call here, but for those that others have made needless.
func TestTheWholeLibraryIsCalled(t *testing.T) {
	names := regexp.MustCompile(`(?m)^\t"(rekindle_\w+)",$`)
	calls := regexp.MustCompile(`(?m)^func (\w+)\(`)
	declared, err := os.ReadFile("internal/abi/calls_purego.go")
	if err != nil {
		t.Fatal(err)
	}
	source := ""
	files, _ := filepath.Glob("*.go")
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source += string(text)
		}
	}
	// The first is another one's special case, the second is a table in Go, the third is asked when the library is opened.
	needless := []string{"FileOpen", "StatusName", "AbiVersion"}
	found := calls.FindAllSubmatch(declared, -1)
	list, err := os.ReadFile("internal/abi/names_purego.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 100 || len(found) != len(names.FindAll(list, -1)) {
		t.Fatal(len(found))
	}
	for _, f := range found {
		name := string(f[1])
		called := regexp.MustCompile(`\babi\.` + name + `\b`).MatchString(source)
		if called == slices.Contains(needless, name) {
			t.Errorf("%s: called is %v", name, called)
		}
	}
}

func TestBatches(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64, SeqMax: 3, OutputsMax: 4})
	defer c.Close()
	defer m.Close()
	ctx := context.Background()
	info, err := m.Info()
	if err != nil || info.Vocab != 2048 || info.Layers != 6 || info.Ctx != 64 || info.SeqMax != 3 || !info.CanShift {
		t.Error(info, err)
	}
	tokens := []int32{5, 9, 23, 5, 9, 23}
	batch := Batch{
		Tokens: tokens, Seqs: []int32{0, 0, 0, 1, 1, 1}, Positions: []int32{0, 1, 2, 0, 1, 2},
		Outputs: []bool{false, true, true, false, true, true},
	}
	if err := m.DecodeBatch(ctx, batch); err != nil {
		t.Fatal(err)
	}
	if n, err := m.Outputs(); n != 4 || err != nil {
		t.Error(n, err)
	}
	var rows [4][]float32
	for i := range rows {
		if rows[i], err = m.Logits(uint32(i)); err != nil || len(rows[i]) != 2048 {
			t.Fatal(err)
		}
		if hidden, err := m.Embeddings(uint32(i)); err != nil || len(hidden) != int(info.Embedding) {
			t.Error(len(hidden), err)
		}
	}
	if !slices.Equal(rows[0], rows[2]) || !slices.Equal(rows[1], rows[3]) || slices.Equal(rows[0], rows[1]) {
		t.Error("the rows of two equal sequences differ")
	}
	if _, err := m.Logits(4); !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
	if err := m.Copy(1, 2, -1, -1); err != nil {
		t.Error(err)
	}
	if free, err := m.Free(); free != 58 || err != nil {
		t.Error(free, err)
	}
	if n, err := m.Cut(2, 2); n != 2 || err != nil {
		t.Error(n, err)
	}
	if err := m.Keep(2); err != nil {
		t.Error(err)
	}
	// The token before the end again, one position earlier.
	if err := m.Shift(2, 1, -1, 3); err != nil {
		t.Error(err)
	}
	if n, err := m.Length(2); n != 5 || err != nil {
		t.Error(n, err)
	}
	if n, err := m.Length(0); n != 0 || err != nil {
		t.Error(n, err)
	}
	if err := m.Checkpoint(2); err != nil {
		t.Error(err)
	}
	perf, err := m.Perf()
	if err != nil || perf.PromptTokens != 6 || perf.Prompt <= 0 {
		t.Error(perf, err)
	}
	if err := m.ResetPerf(); err != nil {
		t.Error(err)
	}
	if perf, err := m.Perf(); err != nil || perf.PromptTokens != 0 {
		t.Error(perf, err)
	}
}

func TestSampledRows(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	logits, err := m.Decode([]int32{5, 9, 23}, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	s, err := m.NewSampler(SamplerParams{
		Temperature: 1, Steps: []Step{StepTopK, StepHost}, TopK: 5, Logprobs: 3,
		HostStep: func(c []Candidate) int {
			seen = len(c)
			slices.SortFunc(c, func(a, b Candidate) int { return int(a.Token - b.Token) })
			return 1
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := s.Copy()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	token, err := s.SampleRow(m, 0)
	if err != nil || seen != 5 {
		t.Error(err, seen)
	}
	if again, err := other.Sample(logits); again != token || err != nil {
		t.Error(again, token, err)
	}
	l, err := s.Logprobs(ByModel)
	if err != nil || l.Chosen.Token != token || len(l.Best) != 3 || l.Best[0].Logprob < l.Best[1].Logprob {
		t.Error(l, err)
	}
	fails := func(step func([]Candidate) int) (token int32, err error) {
		s, e := m.NewSampler(SamplerParams{Temperature: 1, Steps: []Step{StepHost}, HostStep: step})
		if e != nil {
			t.Fatal(e)
		}
		defer s.Close()
		return s.SampleRow(m, 0)
	}
	if _, err := fails(func([]Candidate) int { return -1 }); !errors.Is(err, Cancelled) {
		t.Error(err)
	}
	spoils := func(c []Candidate) int {
		c[0].Logit = float32(math.NaN())
		return len(c)
	}
	if _, err := fails(spoils); !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Error("the step's panic did not come out:", r)
			}
		}()
		fails(func([]Candidate) int { panic("mine") })
	}()
	// A breaker as text and as token; the first needs the vocabulary.
	with, err := m.NewSampler(SamplerParams{
		DryMultiplier: 1, DryBreakers: []string{"."}, DryBreakerTokens: [][]int32{{5, 9}, {7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	with.Close()
}

func TestStreamsAndTokens(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	v, err := m.Vocab()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	const whole = "And “God” said"
	tokens, err := v.Tokenize(whole, TextOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.NewStream(false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	streamed, pieces := "", ""
	for _, token := range tokens {
		text, err := s.Push(token)
		piece, pieceErr := v.Piece(token, TextOptions{})
		if err != nil || pieceErr != nil {
			t.Fatal(err, pieceErr)
		}
		streamed += text
		pieces += piece
	}
	rest, err := s.Flush()
	if strings.TrimSpace(streamed+rest) != whole || strings.TrimSpace(pieces) != whole || err != nil {
		t.Errorf("%q %q %q %v", streamed, rest, pieces, err)
	}
	if info, err := v.Token(2); err != nil || info.Type != TokenControl || !info.Ends {
		t.Error(info, err)
	}
	if _, err := v.Token(-1); !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
	if names, err := v.Templates(); len(names) != 0 || err != nil {
		t.Error(names, err)
	}
}

func TestTensorsAndAdapters(t *testing.T) {
	c, err := NewContext("cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if i, err := c.Info(); err != nil || i.Threads != 2 || i.Devices != 1 || i.ISA == "" {
		t.Error(i, err)
	}
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors, err := f.Tensors()
	if err != nil || len(tensors) < 50 || tensors[0].Name == "" || len(tensors[0].Shape) == 0 || tensors[0].Bytes == 0 {
		t.Error(tensors, err)
	}
	if all, err := f.Adapters(); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
	steer := filepath.Join(filepath.Dir(path()), "..", "tests", "fixtures", "adapters", "bible-steer.gguf")
	adapted, err := c.Adapt(f, steer)
	if err != nil {
		t.Fatal(err)
	}
	defer adapted.Close()
	all, err := adapted.Adapters()
	if err != nil || len(all) != 1 || all[0].Kind != ControlVector || all[0].Tensors == 0 {
		t.Error(all, err)
	}
}

// A log that panics or ends its goroutine harms nobody; one that tells is heard.
func TestLog(t *testing.T) {
	var heard atomic.Int32
	log := func(level LogLevel, message string) {
		if level < LogError || level > LogDebug || message == "" {
			t.Error(level, message)
		}
		if heard.Add(1) == 1 {
			panic("in the log")
		}
	}
	c, err := NewContextWith("cpu", ContextOptions{Threads: 2, LogLevel: LogDebug, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(f, PlanParams{Ctx: 64})
	if err != nil {
		t.Fatal(err)
	}
	var last float32
	m, err := c.LoadContext(context.Background(), p, LoadOptions{Progress: func(done float32) bool {
		last = done
		return true
	}})
	if err != nil || last != 1 {
		t.Fatal(err, last)
	}
	m.Close()
	if heard.Load() == 0 {
		t.Error("nothing was logged")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.LoadContext(&late{Context: ctx}, p, LoadOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := NewContextWith("gpu:none", ContextOptions{Log: log}); !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
}

func TestSavedBytes(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64, SeqMax: 2})
	defer c.Close()
	defer m.Close()
	ctx := context.Background()
	if _, err := m.Decode([]int32{5, 9, 23}, 0); err != nil {
		t.Fatal(err)
	}
	saved, err := m.Save(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(ctx, 1, saved); err != nil {
		t.Error(err)
	}
	a, err := m.Decode([]int32{7}, 0)
	b, other := m.Decode([]int32{7}, 1)
	if err != nil || other != nil || !slices.Equal(a, b) {
		t.Error("a restored sequence goes on otherwise", err, other)
	}
	saved[len(saved)-1] ^= 1
	if err := m.Restore(ctx, 1, saved); !errors.Is(err, BadFile) {
		t.Error(err)
	}
	if err := m.Restore(ctx, 1, nil); !errors.Is(err, BadFile) {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "saved")
	if err := m.SaveSequenceWith(0, file, func(float32) bool { return false }); !errors.Is(err, Cancelled) {
		t.Error(err)
	}
	var last float32
	err = m.SaveSequenceWith(0, file, func(done float32) bool {
		last = done
		return true
	})
	if err != nil || last != 1 {
		t.Error(err, last)
	}
	if err := m.LoadSequenceWith(1, file, func(float32) bool { return true }); err != nil {
		t.Error(err)
	}
}

func TestTextAndReplyEvents(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64, SeqMax: 2})
	defer c.Close()
	defer m.Close()
	s, err := m.NewSampler(SamplerParams{Temperature: 1, TopK: 40, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func() (all string) {
		params := GenerationParams{Prompt: "And God said", MaxTokens: 12, With: s}
		for piece, err := range m.Text(context.Background(), params) {
			if err != nil {
				t.Fatal(err)
			}
			all += piece
		}
		return
	}
	if one, two := write(), write(); one != two || one == "" {
		t.Errorf("the sampler is copied, so the text is the same: %q %q", one, two)
	}
	for _, err := range m.Text(context.Background(), GenerationParams{NoSpecial: true}) {
		if !errors.Is(err, InvalidArgument) {
			t.Error(err)
		}
	}
	for range m.Text(context.Background(), GenerationParams{Prompt: "And God said"}) {
		break
	}
	r, err := m.NewReply(ReplyParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(r.Push("a text"), r.Finish()); err != nil {
		t.Fatal(err)
	}
	content, last := "", ReplyKind(0)
	for e, err := range r.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == ReplyContent {
			content += e.Text
		}
		last = e.Kind
	}
	if content != "a text" || last != ReplyEnd {
		t.Error(content, last)
	}
}
