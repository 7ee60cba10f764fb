package main

import "rekindle"

// infill makes the prompt that has a model write what stands between two texts.
func (l *lease) infill(prefix, suffix string) ([]int32, error) {
	v, err := l.model.Vocab()
	if err != nil {
		return nil, err
	}
	if v.FIMPrefix < 0 || v.FIMSuffix < 0 || v.FIMMiddle < 0 {
		return nil, badRequest("suffix", "%s does not fill in between two texts: its vocabulary has no tokens for that", l.entry.name)
	}
	var tokens []int32
	if v.AddBOS && v.BOS >= 0 {
		tokens = append(tokens, v.BOS)
	}
	for _, part := range []struct {
		token int32
		text  string
	}{{v.FIMPrefix, prefix}, {v.FIMSuffix, suffix}} {
		ids, err := l.model.TokenizeWith(part.text, rekindle.TextOptions{})
		if err != nil {
			return nil, err
		}
		tokens = append(append(tokens, part.token), ids...)
	}
	return append(tokens, v.FIMMiddle), nil
}
