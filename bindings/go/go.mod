module github.com/rekindle-llm/rekindle/bindings/go

go 1.23

require github.com/ebitengine/purego v0.9.1
