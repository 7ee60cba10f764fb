package rekindle

import (
	"math"
	"testing"
)

func TestVocab(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	vocab, err := m.Vocab()
	if err != nil {
		t.Fatal(err)
	}
	defer vocab.Close()
	v, err := vocab.Info()
	if err != nil || v.Tokens != 2048 || v.BOS != 1 || v.EOS != 2 || v.Model != "llama" || !v.AddBOS {
		t.Error(v, err)
	}
	for _, id := range []int32{v.FIMPrefix, v.FIMSuffix, v.FIMMiddle, v.FIMPad, v.FIMRepository, v.FIMSeparator} {
		if id != -1 {
			t.Error("the model fills nothing in", v)
		}
	}
}

func TestEmbed(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 128, SeqMax: 4, Pooling: PoolingMean})
	defer c.Close()
	defer m.Close()
	var texts [][]int32
	for _, s := range []string{"And God said", "In the beginning God created the heaven", "And God said"} {
		tokens, err := m.Tokenize(s)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, tokens)
	}
	rows, err := m.Embed(texts, true)
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return
	}
	for _, row := range rows {
		if math.Abs(dot(row, row)-1) > 1e-5 {
			t.Error("a row's length is not 1:", dot(row, row))
		}
	}
	if like, other := dot(rows[0], rows[2]), dot(rows[0], rows[1]); like < 0.99999 || other > 0.999 {
		t.Error(like, other)
	}
	// A text alone, longer than 1, in the same direction.
	alone, err := m.Embed(texts[1:2], false)
	if err != nil || len(alone) != 1 {
		t.Fatal(alone, err)
	}
	length := math.Sqrt(dot(alone[0], alone[0]))
	if cosine := dot(alone[0], rows[1]) / length; cosine < 0.99999 || math.Abs(length-1) < 1e-3 {
		t.Error(cosine, length)
	}
	if _, err := m.Embed([][]int32{{1}, {1}, {1}, {1}, {1}}, true); status(err) != InvalidArgument {
		t.Error("more texts than sequences:", err)
	}
	c2, logits := load(t, PlanParams{Ctx: 64})
	defer c2.Close()
	defer logits.Close()
	if _, err := logits.Embed(texts[:1], true); status(err) != Unsupported {
		t.Error("rows of a model that leaves logits:", err)
	}
}
