package rekindle

import (
	"context"
	"runtime"
	"unsafe"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Batch is what a decode computes. The slices have the length of Tokens, or are nil.
type Batch struct {
	Tokens []int32
	// Positions ascend within a sequence, past its end; nil: each sequence goes on at its end.
	Positions []int32
	// Seqs are the sequences' ids; nil: all are 0.
	Seqs []int32
	// Outputs says where rows are wanted; nil: for the last token of each sequence.
	Outputs []bool
}

// DecodeBatch computes a batch; Logits, Embeddings and Pooled give what it leaves. An error leaves the sequences as
// they were. It ends with ctx's error when ctx is done.
func (m *Model) DecodeBatch(ctx context.Context, batch Batch) error {
	defer runtime.KeepAlive(m)
	var pin runtime.Pinner
	defer pin.Unpin()
	n := len(batch.Tokens)
	for _, f := range []struct {
		name   string
		length int
	}{{"positions", len(batch.Positions)}, {"seq_ids", len(batch.Seqs)}, {"outputs", len(batch.Outputs)}} {
		if f.length != 0 && f.length != n {
			return failure(InvalidArgument, "the batch's "+f.name+" must have as many elements as its tokens", f.name)
		}
	}
	b := &abi.Batch{StructSize: sizeof[abi.Batch]()}
	b.Tokens, b.NTokens = span[int32, uint32](&pin, batch.Tokens)
	b.Positions, _ = span[int32, uint32](&pin, batch.Positions)
	b.SeqIds, _ = span[int32, uint32](&pin, batch.Seqs)
	wanted := make([]byte, len(batch.Outputs))
	for i, w := range batch.Outputs {
		wanted[i] = byte(number(w))
	}
	b.Outputs, _ = span[byte, uint32](&pin, wanted)
	return m.turn.run(ctx, m.h, func() int32 { return abi.Decode(m.h, b) })
}

// Decode continues sequence seq by tokens and returns a copy of the last one's logits.
func (m *Model) Decode(tokens []int32, seq int32) ([]float32, error) {
	seqs := make([]int32, len(tokens))
	for i := range seqs {
		seqs[i] = seq
	}
	if err := m.DecodeBatch(context.Background(), Batch{Tokens: tokens, Seqs: seqs}); err != nil {
		return nil, err
	}
	return m.Logits(0)
}

// Outputs counts the rows that the last batch left.
func (m *Model) Outputs() (n uint32, err error) {
	defer runtime.KeepAlive(m)
	err = call(func() int32 { return abi.NOutputs(m.h, &n) })
	return
}

// Logits gives a copy of a row of logits, in the order of the batch.
func (m *Model) Logits(row uint32) ([]float32, error) {
	return m.row(row, abi.Logits)
}

// Embeddings gives a copy of the hidden state behind a row of logits; with a plan's pooling, of a token's or text's
// row.
func (m *Model) Embeddings(row uint32) ([]float32, error) {
	return m.row(row, abi.Embeddings)
}

func (m *Model) row(row uint32, get func(abi.Handle, uint32, **float32, *uint32) int32) ([]float32, error) {
	defer runtime.KeepAlive(m)
	var first *float32
	var n uint32
	if err := call(func() int32 { return get(m.h, row, &first, &n) }); err != nil {
		return nil, err
	}
	return append([]float32(nil), unsafe.Slice(first, n)...), nil
}

// Pooled gives what the last batch made of the text of a sequence, for plans that pool texts. With normalize it has the
// length 1.
func (m *Model) Pooled(seq int32, normalize bool) ([]float32, error) {
	defer runtime.KeepAlive(m)
	bits := flags(flag{normalize, abi.POOLED_NORMALIZE})
	return array(func(b *float32, c uintptr, n *uintptr) int32 { return abi.Pooled(m.h, seq, bits, b, c, n) })
}

// Embed decodes texts, each as a sequence of its own, in one batch, and returns what the plan's pooling makes of each.
// The sequences are forgotten first. With normalize, rows have the length 1.
func (m *Model) Embed(texts [][]int32, normalize bool) ([][]float32, error) {
	var batch Batch
	for seq, text := range texts {
		batch.Tokens = append(batch.Tokens, text...)
		for range text {
			batch.Seqs = append(batch.Seqs, int32(seq))
		}
	}
	if err := m.Remove(-1, 0, -1); err != nil {
		return nil, err
	}
	if err := m.DecodeBatch(context.Background(), batch); err != nil {
		return nil, err
	}
	rows := make([][]float32, len(texts))
	for seq := range rows {
		var err error
		if rows[seq], err = m.Pooled(int32(seq), normalize); err != nil {
			return nil, err
		}
	}
	return rows, nil
}
