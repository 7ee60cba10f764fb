// Prints the plan of a file for a list of devices, as text or as JSON: plan FILE DEVICES text|json
package main

import (
	"errors"
	"fmt"
	"log"
	"os"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: plan FILE DEVICES text|json")
	}
	c, err := rekindle.NewContext(os.Args[2], 2)
	if err != nil {
		log.Fatal(err)
	}
	file, err := c.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	plan, err := c.Plan(file, rekindle.PlanParams{})
	// One that does not fit is there to be read.
	var e *rekindle.Error
	if err != nil && !(errors.As(err, &e) && e.Status == rekindle.NotFit) {
		log.Fatal(err)
	}
	show := plan.Text
	if os.Args[3] == "json" {
		show = plan.JSON
	}
	text, err := show()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(text)
}
