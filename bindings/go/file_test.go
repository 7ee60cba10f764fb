package rekindle

import "testing"

func TestFile(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Info()
	if err != nil || info.Architecture != "llama" || info.Layers != 6 || info.CtxTrain != 512 || info.Vocab != 2048 {
		t.Error(info, err)
	}
	keys, err := f.Keys()
	if err != nil || uint64(len(keys)) != info.Keys {
		t.Fatal(keys, err)
	}
	values := map[string]any{}
	for _, k := range keys {
		values[k.Name] = k.Value
	}
	if values["general.architecture"] != "llama" || values["llama.block_count"] != int64(6) {
		t.Error(values)
	}
	if _, is := values["llama.attention.layer_norm_rms_epsilon"].(float64); !is {
		t.Error(values)
	}
	if v, there := values["tokenizer.ggml.tokens"]; !there || v != nil {
		t.Error("an array has the value", v)
	}
	if _, err := f.Template(""); status(err) != NotFound {
		t.Error("the file has no template:", err)
	}
}

func TestTextOptions(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	const text = "And God said</s>"
	for _, o := range []TextOptions{{}, {Special: true}, {ParseSpecial: true}, {Special: true, ParseSpecial: true}} {
		tokens, err := m.TokenizeWith(text, o)
		if err != nil {
			t.Fatal(err)
		}
		if begins, ends := tokens[0] == 1, tokens[len(tokens)-1] == 2; begins != o.Special || ends != o.ParseSpecial {
			t.Error(o, tokens)
		}
		back, err := m.Detokenize(tokens, TextOptions{Special: o.Special, ParseSpecial: true})
		if err != nil || back != text {
			t.Errorf("%v %q %v", o, back, err)
		}
	}
	if back, err := m.Detokenize(nil, TextOptions{}); back != "" || err != nil {
		t.Error(back, err)
	}
	if _, err := m.Detokenize([]int32{-1}, TextOptions{}); status(err) != InvalidArgument {
		t.Error(err)
	}
}
