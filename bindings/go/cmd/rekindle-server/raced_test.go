//go:build race

package main

// raced tells that the race detector is at work, whose own memory grows.
const raced = true
