// The smallest Go host: plan, load, decode a text.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	c := must(rekindle.NewContext("auto", 0))
	file := must(c.Open(os.Args[1]))
	plan := must(c.Plan(file, rekindle.PlanParams{}))
	fmt.Print(must(plan.Text()))
	model := must(c.Load(plan, nil))
	params := rekindle.GenerationParams{Prompt: "And God said", MaxTokens: 40}
	for piece, err := range model.Text(context.Background(), params) {
		fmt.Print(must(piece, err))
	}
}
