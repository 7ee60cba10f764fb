package main

import rekindle "github.com/rekindle-llm/rekindle/bindings/go"

// between makes the prompt that has a model write what stands between two texts. Other files go before, if the
// vocabulary has a token for that.
func (l *lease) between(prefix, suffix string, files []extraFile) ([]int32, error) {
	v, err := l.model.VocabInfo()
	if err != nil {
		return nil, err
	}
	if v.FIMPrefix < 0 || v.FIMSuffix < 0 || v.FIMMiddle < 0 {
		return nil, badRequest("suffix", "%s does not fill in between two texts: its vocabulary has no tokens for that",
			l.entry.name)
	}
	var tokens []int32
	if v.AddBOS && v.BOS >= 0 {
		tokens = append(tokens, v.BOS)
	}
	add := func(token int32, text string) error {
		// What the user's files say is never read as control tokens.
		ids, err := l.model.TokenizeWith(text, rekindle.TextOptions{})
		tokens = append(append(tokens, token), ids...)
		return err
	}
	if v.FIMSeparator >= 0 {
		for _, f := range files {
			if err := add(v.FIMSeparator, f.Filename+"\n"+f.Text+"\n"); err != nil {
				return nil, err
			}
		}
	}
	if err := add(v.FIMPrefix, prefix); err != nil {
		return nil, err
	}
	if err := add(v.FIMSuffix, suffix); err != nil {
		return nil, err
	}
	return append(tokens, v.FIMMiddle), nil
}
