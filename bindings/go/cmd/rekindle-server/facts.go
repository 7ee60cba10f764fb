package main

import (
	"fmt"
	"os"
	"strings"
	"sync"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// facts are what the header of a model's file says. Nothing is loaded for them.
type facts struct {
	info     rekindle.FileInfo
	keys     []rekindle.Key
	template string
	// pooling is the file's own way from tokens to a text's row, below 0 if it names none. The model is an encoder if it
	// leaves no logits.
	pooling int64
	encoder bool
	insert  bool
}

// factsCache keeps the facts of files as they are now.
type factsCache struct {
	context *rekindle.Context
	mu      sync.Mutex
	known   map[string]*facts
}

func (c *factsCache) of(path string) (*facts, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	k := key(path, info)
	c.mu.Lock()
	f := c.known[k]
	c.mu.Unlock()
	if f != nil {
		return f, nil
	}
	if f, err = readFacts(c.context, path); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.known[k] = f
	c.mu.Unlock()
	return f, nil
}

// encoders are the architectures that leave rows of texts and no logits.
var encoders = []string{"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert",
	"eurobert", "gemma-embedding"}

func readFacts(context *rekindle.Context, path string) (*facts, error) {
	file, err := context.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &facts{pooling: -1}
	if f.info, err = file.Info(); err != nil {
		return nil, err
	}
	if f.keys, err = file.Keys(); err != nil {
		return nil, err
	}
	for _, e := range encoders {
		f.encoder = f.encoder || f.info.Architecture == e
	}
	if v, is := f.key(f.info.Architecture + ".pooling_type").(int64); is {
		f.pooling = v
	}
	f.template, _ = f.key("tokenizer.chat_template").(string)
	for _, k := range []string{"fim_pre_token_id", "prefix_token_id"} {
		f.insert = f.insert || f.key("tokenizer.ggml."+k) != nil
	}
	return f, nil
}

// key gives the value of a key, or nil.
func (f *facts) key(name string) any {
	for _, k := range f.keys {
		if k.Name == name {
			return k.Value
		}
	}
	return nil
}

// quantization is the name of the file's usual weight type.
func (f *facts) quantization() string {
	n, is := f.key("general.file_type").(int64)
	if !is {
		return "unknown"
	}
	if name, known := fileTypes[n&^1024]; known {
		return name
	}
	return fmt.Sprintf("type %d", n)
}

// fileTypes are the numbers of general.file_type.
var fileTypes = map[int64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
	13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
	21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
	29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}

// parameterSize is the number of weights as people say it: "7.6B".
func (f *facts) parameterSize() string {
	n := float64(f.info.Params)
	switch {
	case n >= 1e12:
		return fmt.Sprintf("%.1fT", n/1e12)
	case n >= 1e9:
		return fmt.Sprintf("%.1fB", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	}
	return fmt.Sprintf("%.0fK", n/1e3)
}

// capabilities are Ollama's words for what a model can do; clients switch features by them.
func (f *facts) capabilities(template string) []string {
	if f.encoder || f.pooling > 0 {
		return []string{"embedding"}
	}
	if template == "" {
		template = f.template
	}
	c := []string{"completion"}
	if strings.Contains(template, "tools") || strings.Contains(template, ".Tools") {
		c = append(c, "tools")
	}
	if strings.Contains(template, "<think>") || strings.Contains(template, "enable_thinking") ||
		strings.Contains(template, "reasoning_effort") || strings.Contains(template, "<|channel|>") {
		c = append(c, "thinking")
	}
	if f.insert {
		c = append(c, "insert")
	}
	return c
}

// details are Ollama's summary of a model.
func (f *facts) details() map[string]any {
	return map[string]any{
		"parent_model": "", "format": "gguf", "family": f.info.Architecture, "families": []string{f.info.Architecture},
		"parameter_size": f.parameterSize(), "quantization_level": f.quantization(),
	}
}
