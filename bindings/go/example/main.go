// The smallest Go host: plan, load, decode a text.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"rekindle"
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
	must(model.Generate(context.Background(), "And God said", rekindle.Options{MaxTokens: 40}, func(piece string) bool {
		fmt.Print(piece)
		return true
	}))
}
