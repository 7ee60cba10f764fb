package main

import "sort"

// Ollama cuts what is longer than the context, where other dialects refuse it. A prompt that fits is left as it is. One
// that does not fit is cut so far that a quarter of the context is free, since there must be room for an answer.

// usualKeep is the number of tokens at a prompt's beginning that are never cut, unless num_keep says another.
const usualKeep = 4

// fits tells if a prompt of n tokens leaves room for another one.
func (l *lease) fits(n int) bool { return n < int(l.summary.Ctx) }

// cutTo is the most tokens of a prompt that was cut.
func (l *lease) cutTo() int { return int(l.summary.Ctx) - int(l.summary.Ctx)/4 }

// chatWithin makes the prompt of a conversation. If it is too long, the oldest messages are left out, but for those of
// the system and the last one.
func (l *lease) chatWithin(messages []chatMessage, p chatParams) (prompt, error) {
	whole, err := l.chatPrompt(messages, p)
	if err != nil || l.fits(len(whole.tokens)) {
		return whole, err
	}
	n := 0
	for _, m := range messages[:len(messages)-1] {
		if m.Role != "system" {
			n++
		}
	}
	// The more are left out, the shorter the prompt: the least number is looked for by halves.
	out := sort.Search(n, func(out int) bool {
		made, err := l.chatPrompt(without(messages, out), p)
		return err == nil && len(made.tokens) <= l.cutTo()
	})
	made, err := l.chatPrompt(without(messages, out), p)
	if err != nil {
		// A template may refuse what is left, for example an answer without its question. Then nothing is left out.
		return whole, nil
	}
	return made, nil
}

// without leaves out the oldest messages that are not of the system.
func without(messages []chatMessage, out int) []chatMessage {
	var rest []chatMessage
	for i, m := range messages {
		if out > 0 && m.Role != "system" && i < len(messages)-1 {
			out--
			continue
		}
		rest = append(rest, m)
	}
	return rest
}

// within cuts tokens behind the first ones, so that the end of a text stays. num_keep below zero keeps all that can be
// kept.
func (l *lease) within(tokens []int32, numKeep *int64) []int32 {
	if l.fits(len(tokens)) {
		return tokens
	}
	keep := int64(usualKeep)
	if numKeep != nil {
		keep = *numKeep
	}
	most := l.cutTo()
	// The last token is that of the answer's beginning.
	if keep < 0 || keep >= int64(most) {
		keep = int64(most - 1)
	}
	from := len(tokens) - (most - int(keep))
	return append(append([]int32{}, tokens[:keep]...), tokens[from:]...)
}
