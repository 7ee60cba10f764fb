package rekindle_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

const bible = "../../models/bible-5M-Q8_0.gguf"

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// loaded is the model that the examples work with.
func loaded(params rekindle.PlanParams) *rekindle.Model {
	c := must(rekindle.NewContext("cpu", 2))
	plan := must(c.Plan(must(c.Open(bible)), params))
	return must(c.Load(plan, nil))
}

func Example() {
	c := must(rekindle.NewContext("cpu", 2))
	defer c.Close()
	file := must(c.Open(bible))
	plan := must(c.Plan(file, rekindle.PlanParams{Ctx: 64}))
	model := must(c.Load(plan, nil))
	defer model.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for piece, err := range model.Text(ctx, rekindle.GenerationParams{Prompt: "And God said", MaxTokens: 7}) {
		fmt.Print(must(piece, err))
	}
	// Output: unto the angel of the LORD,
}

func ExampleContext_Plan() {
	// Two dies of a Tesla K80 that need not be there.
	c := must(rekindle.NewContext("k80:2", 2))
	defer c.Close()
	plan, err := c.Plan(must(c.Open(bible)), rekindle.PlanParams{Ctx: 512})
	if errors.Is(err, rekindle.NotFit) {
		fmt.Println("does not fit; what would help:", must(plan.Remedies()))
		return
	}
	for _, d := range must(plan.Devices())[:2] {
		fmt.Println("device", d.Device, "has", d.Layers, "layers and a KV arena of", d.Memory.KV, "bytes")
	}
	// Output:
	// device 0 has 6 layers and a KV arena of 1591424 bytes
	// device 1 has 0 layers and a KV arena of 0 bytes
}

// Several texts at once: each step computes a token of every one, and they may join and leave at any step.
func ExampleModel_Step() {
	m := loaded(rekindle.PlanParams{Ctx: 128, SeqMax: 2})
	defer m.Close()
	texts := map[*rekindle.Generation]string{}
	var all []*rekindle.Generation
	for _, prompt := range []string{"And God said", "In the beginning"} {
		g := must(m.NewGeneration(rekindle.GenerationParams{Prompt: prompt, MaxTokens: 6}))
		defer g.Close()
		all = append(all, g)
	}
	for must(m.Step(all...)).Going > 0 {
		for _, g := range all {
			for {
				event, some, err := g.Next()
				if err != nil || !some {
					break
				}
				texts[g] += event.Text
			}
		}
	}
	for _, g := range all {
		fmt.Println(texts[g], must(g.Info()).Stop)
	}
	// Output:
	//  unto the angel of the limit
	//  of the ends of limit
}

// A generation goes on where MaxTokens has ended it.
func ExampleModel_Generate() {
	m := loaded(rekindle.PlanParams{Ctx: 64})
	defer m.Close()
	sampler := must(m.NewSampler(rekindle.SamplerParams{}))
	defer sampler.Close()
	show := func(p rekindle.Piece) bool {
		fmt.Print(p.Text)
		return true
	}
	ctx := context.Background()
	r := must(m.Generate(ctx, "And God said", rekindle.Options{MaxTokens: 4, With: sampler}, show))
	fmt.Printf(" [%v]", r.Stop)
	must(m.Generate(ctx, "", rekindle.Options{Tokens: r.Next, MaxTokens: 3, With: sampler}, show))
	// Output: unto the angel of [limit] the LORD,
}

func ExampleModel_NewGrammar() {
	m := loaded(rekindle.PlanParams{Ctx: 64})
	defer m.Close()
	day := must(m.NewGrammar(rekindle.Regex, " the (day|night) of [0-9]{2}", rekindle.GrammarOptions{}))
	defer day.Close()
	params := rekindle.GenerationParams{Prompt: "And God made", Grammar: day}
	text := ""
	for piece, err := range m.Text(context.Background(), params) {
		text += must(piece, err)
	}
	verdict, _, err := day.Check(text)
	fmt.Println(len(text), verdict == rekindle.TextComplete, err)
	// Output: 14 true <nil>
}

// Rows of logits, for hosts that choose tokens themselves.
func ExampleModel_DecodeBatch() {
	m := loaded(rekindle.PlanParams{Ctx: 64, SeqMax: 2})
	defer m.Close()
	god, beginning := must(m.Tokenize("And God")), must(m.Tokenize("In the beginning"))
	batch := rekindle.Batch{Tokens: append(god, beginning...)}
	for i := range batch.Tokens {
		batch.Seqs = append(batch.Seqs, map[bool]int32{true: 1}[i >= len(god)])
	}
	if err := m.DecodeBatch(context.Background(), batch); err != nil {
		log.Fatal(err)
	}
	v := must(m.Vocab())
	defer v.Close()
	greedy := must(m.NewSampler(rekindle.SamplerParams{}))
	defer greedy.Close()
	for row := range uint32(2) {
		token := must(greedy.SampleRow(m, row))
		fmt.Printf("%d:%q\n", token, must(v.Piece(token, rekindle.TextOptions{})))
	}
	// Output:
	// 394:" said"
	// 271:" of"
}

// A sequence that is kept for another time: the other one goes on from it without a look at the prompt.
func ExampleModel_Save() {
	m := loaded(rekindle.PlanParams{Ctx: 64, SeqMax: 2})
	defer m.Close()
	ctx := context.Background()
	before := must(m.Decode(must(m.Tokenize("And God said")), 0))
	saved := must(m.Save(ctx, 0))
	if err := m.Restore(ctx, 1, saved); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(before), must(m.Length(0)) == must(m.Length(1)))
	// Output: 2048 true
}

func ExampleError() {
	c := must(rekindle.NewContext("cpu", 2))
	defer c.Close()
	_, err := c.Open("missing.gguf")
	fmt.Println(errors.Is(err, rekindle.IO), errors.Is(err, os.ErrNotExist))
	var e *rekindle.Error
	if errors.As(err, &e) {
		fmt.Println(e.Status, "-", e)
	}
	// Output:
	// true true
	// REKINDLE_IO - rekindle: missing.gguf: No such file or directory (os error 2)
}
