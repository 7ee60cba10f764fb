// The scenario of tests/hosts/scenario.c in Go. It prints the same bytes. usage: scenario MODEL
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log"
	"math"
	"math/bits"
	"os"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal("unexpected: ", err)
	}
}

// fails prints an error with its particulars.
func fails(what string, err error) {
	var e *rekindle.Error
	if !errors.As(err, &e) {
		log.Fatalf("unexpected: %s: %v", what, err)
	}
	fmt.Printf("%s: %v: %s [%s] device %d, needed %d, available %d\n",
		what, e.Status, e.Message, e.Subject, e.Device, e.Needed, e.Available)
}

func plans(file *rekindle.File) {
	dies := must(rekindle.NewContext("k80:2", 2))
	defer dies.Close()
	plan := must(dies.Plan(file, rekindle.PlanParams{Ctx: 512, SeqMax: 2}))
	defer plan.Close()
	s := must(plan.Summary())
	fits := map[bool]int{true: 1}[s.Fits]
	fmt.Printf("plan: fits %d, n_ctx %d, n_batch %d, %s, %s\n", fits, s.Ctx, s.Batch, s.Architecture, s.Name)
	for _, d := range must(plan.Devices()) {
		m := d.Memory
		fmt.Printf("device %d: layers %d, weights %d, kv %d, compute %d\n", d.Device, d.Layers, m.Weights, m.KV, m.Compute)
	}
	_, err := dies.Load(plan, nil)
	fails("load", err)
}

// likeliest is the likeliest token of a row; it prints the bits of its logit.
func likeliest(model *rekindle.Model, row uint32) int32 {
	logits := must(model.Logits(row))
	most := 0
	for i, l := range logits {
		if l > logits[most] {
			most = i
		}
	}
	fmt.Printf("row %d: token %d, logit %08x\n", row, most, math.Float32bits(logits[most]))
	return int32(most)
}

func lengths(model *rekindle.Model, what string) {
	fmt.Printf("%s: lengths", what)
	for seq := range int32(4) {
		fmt.Printf(" %d", must(model.Length(seq)))
	}
	fmt.Printf(", free %d\n", must(model.Free()))
}

func sequences(model *rekindle.Model) {
	ctx := context.Background()
	first, second := must(model.Tokenize("In the beginning God")), must(model.Tokenize("And God said"))
	seqs := make([]int32, len(first)+len(second))
	for i := len(first); i < len(seqs); i++ {
		seqs[i] = 1
	}
	check(model.DecodeBatch(ctx, rekindle.Batch{Tokens: append(first, second...), Seqs: seqs}))
	next := []int32{likeliest(model, 0), likeliest(model, 1)}
	check(model.DecodeBatch(ctx, rekindle.Batch{Tokens: next, Seqs: []int32{0, 1}}))
	likeliest(model, 0)
	likeliest(model, 1)
	lengths(model, "decoded")
	check(model.Copy(0, 2, -1, -1))
	must(model.Cut(2, 3))
	check(model.Remove(1, 0, 2))
	check(model.Shift(1, 2, -1, -2))
	lengths(model, "changed")
	check(model.DecodeBatch(ctx, rekindle.Batch{Tokens: next[:1], Seqs: []int32{2}}))
	likeliest(model, 0)
}

func save(model *rekindle.Model) {
	ctx := context.Background()
	saved := must(model.Save(ctx, 0))
	digest := fnv.New64a()
	digest.Write(saved)
	fmt.Printf("saved: %d bytes, %016x\n", len(saved), digest.Sum64())
	check(model.Restore(ctx, 3, saved))
	lengths(model, "loaded")
	saved[len(saved)-1] ^= 1
	fails("damaged", model.Restore(ctx, 3, saved))
	check(model.Remove(-1, -1, -1))
}

// tell writes all that a generation has told.
func tell(g *rekindle.Generation) {
	for {
		e, some, err := g.Next()
		check(err)
		if !some {
			break
		}
		if e.Stop == 0 {
			fmt.Printf("%d:%s|", e.Token, e.Text)
		} else {
			fmt.Printf("%s stop %d\n", e.Text, int32(e.Stop))
		}
	}
	g.Close()
}

func generations(model *rekindle.Model) {
	sampler := rekindle.SamplerParams{Temperature: 0.9, TopK: 40, Seed: 7}
	all := []*rekindle.Generation{
		must(model.NewGeneration(rekindle.GenerationParams{
			Prompt: "And God said", MaxTokens: 12, StopTexts: []string{"the LORD"},
		})),
		must(model.NewGeneration(rekindle.GenerationParams{Prompt: "In the beginning", MaxTokens: 12, Sampler: sampler})),
		must(model.NewGeneration(rekindle.GenerationParams{Prompt: "And God said unto", MaxTokens: 12})),
	}
	for steps, going := 0, uint32(3); going > 0; steps++ {
		if steps == 4 {
			all[2].Cancel()
		}
		going = must(model.Step(all...)).Going
	}
	for _, g := range all {
		tell(g)
	}
}

func grammars(model *rekindle.Model) {
	grammar := must(model.NewGrammar(rekindle.Regex, " the (day|night) of [0-9]{2}", rekindle.GrammarOptions{}))
	defer grammar.Close()
	allowed := 0
	for _, word := range must(grammar.Mask()) {
		allowed += bits.OnesCount32(word)
	}
	fmt.Printf("grammar: %d tokens may come first\n", allowed)
	g := must(model.NewGeneration(rekindle.GenerationParams{Prompt: "And God made", Grammar: grammar}))
	for must(model.Step(g)).Going > 0 {
	}
	tell(g)
	for _, text := range []string{" the day of 12", " the da", " the month"} {
		verdict, at, err := grammar.Check(text)
		check(err)
		fmt.Printf("check: %d at %d\n", verdict, at)
	}
	_, err := model.NewGrammar(rekindle.Regex, "(day", rekindle.GrammarOptions{})
	fails("grammar", err)
}

func cancel(model *rekindle.Model) {
	left := 3
	_, err := model.Generate(context.Background(), "And God said", rekindle.Options{}, func(p rekindle.Piece) bool {
		fmt.Printf("piece %d:%s\n", p.Token, p.Text)
		if left--; left == 0 {
			model.Cancel()
		}
		return true
	})
	fails("cancel", err)
	lengths(model, "cancelled")
}

func mistakes(c *rekindle.Context, model *rekindle.Model) {
	_, err := model.Decode([]int32{5, 99999}, 0)
	fails("decode", err)
	_, err = model.Decode(make([]int32, 128), 0)
	fails("decode", err)
	_, err = model.Logits(7)
	fails("logits", err)
	_, err = c.Open("/no/such/model.gguf")
	fails("open", err)
	_, err = model.NewSampler(rekindle.SamplerParams{TopP: 2})
	fails("sampler", err)
	fails("length", model.Remove(9, 0, -1))
}

func main() {
	c := must(rekindle.NewContext("cpu", 2))
	file := must(c.Open(os.Args[1]))
	plans(file)
	model := must(c.Load(must(c.Plan(file, rekindle.PlanParams{Ctx: 128, SeqMax: 4})), nil))
	memory := must(model.Memory(0))
	fmt.Printf("memory: mapped %d, kv %d\n", memory.Mapped, memory.KV)
	sequences(model)
	save(model)
	generations(model)
	grammars(model)
	cancel(model)
	mistakes(c, model)
}
