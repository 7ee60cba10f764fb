package rekindle

import (
	"errors"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// File is a GGUF file's header.
type File struct{ h abi.Handle }

func newFile(h abi.Handle) *File {
	f := &File{h}
	closes(f, (*File).Close)
	return f
}

// Open reads a file's header, or those of a split file.
func (c *Context) Open(path string) (*File, error) {
	return c.OpenWith(path, "")
}

// OpenWith is Open with values in place of those that keys of the file have: a JSON object, as
// {"llama.rope.freq_base": 500000.0}. A key that the file has keeps its type.
func (c *Context) OpenWith(path, overrides string) (*File, error) {
	defer runtime.KeepAlive(c)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, path)
	o, m := view(&pin, overrides)
	h, err := created(func(h *abi.Handle) int32 { return abi.FileOpenWith(c.h, p, n, o, m, h) })
	if err != nil {
		return nil, err
	}
	return newFile(h), nil
}

// Adapt gives a file with adapters beside it: GGUF files of LoRAs and of control vectors, numbered in this order.
// Nothing changes until a scale is set: by Model.SetAdapters or GenerationParams.AdapterScales.
func (c *Context) Adapt(f *File, paths ...string) (*File, error) {
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(f)
	var pin runtime.Pinner
	defer pin.Unpin()
	addresses, lengths := views(&pin, paths)
	a, n := span[*byte, uintptr](&pin, addresses)
	l, _ := span[uintptr, uintptr](&pin, lengths)
	h, err := created(func(h *abi.Handle) int32 { return abi.FileAdapt(c.h, f.h, a, l, n, h) })
	if err != nil {
		return nil, err
	}
	return newFile(h), nil
}

// Close ends the file; plans and models made from it go on.
func (f *File) Close() {
	runtime.SetFinalizer(f, nil)
	abi.FileClose(f.h)
}

// FileInfo is the description of a file. A number that its keys do not give is 0, and such a text is empty.
type FileInfo struct {
	// Version of GGUF.
	Version uint32
	// Keys and tensors it has.
	Keys, Tensors uint64
	// Bytes of all its files, elements of all its tensors.
	Bytes, Params uint64
	// Files that it is split into.
	Files  uint32
	Layers uint32
	// CtxTrain is the context that the model was trained for, in tokens.
	CtxTrain uint32
	// Embedding is the length of a token's row, Vocab the number of these rows.
	Embedding, Vocab   uint32
	Architecture, Name string
}

// Info tells what a file is.
func (f *File) Info() (FileInfo, error) {
	defer runtime.KeepAlive(f)
	i := abi.FileInfo{StructSize: sizeof[abi.FileInfo]()}
	err := call(func() int32 { return abi.FileGetInfo(f.h, &i) })
	return FileInfo{
		Version: i.Version, Keys: i.NKeys, Tensors: i.NTensors, Bytes: i.NBytes, Params: i.NParams, Files: i.NFiles,
		Layers: i.NLayer, CtxTrain: i.NCtxTrain, Embedding: i.NEmbd, Vocab: i.NVocab,
		Architecture: chars(i.Architecture[:]), Name: chars(i.Name[:]),
	}, err
}

// TensorInfo is a tensor of a file.
type TensorInfo struct {
	Name string
	// Type is GGUF's name of its type: "Q4_K".
	Type string
	// Shape has the elements per dimension, the one that lies closest together first.
	Shape []uint64
	// Split is the number of the split file that holds it, Offset the place there where its data begins.
	Split         uint32
	Offset, Bytes uint64
}

// Tensors gives all tensors of a file, in its order.
func (f *File) Tensors() ([]TensorInfo, error) {
	defer runtime.KeepAlive(f)
	info, err := f.Info()
	if err != nil {
		return nil, err
	}
	tensors := make([]TensorInfo, info.Tensors)
	for i := range tensors {
		t := abi.TensorInfo{StructSize: sizeof[abi.TensorInfo]()}
		if err := call(func() int32 { return abi.FileGetTensor(f.h, uint32(i), &t) }); err != nil {
			return nil, err
		}
		shape := append([]uint64(nil), t.Ne[:min(int(t.NDims), len(t.Ne))]...)
		tensors[i] = TensorInfo{chars(t.Name[:]), chars(t.TypeName[:]), shape, t.Split, t.Offset, t.NBytes}
	}
	return tensors, nil
}

// AdapterKind is what an adapter is.
type AdapterKind int32

// The kinds of adapter.
const (
	LoRA          AdapterKind = abi.ADAPTER_LORA
	ControlVector AdapterKind = abi.ADAPTER_CONTROL_VECTOR
)

// AdapterInfo is an adapter beside a file.
type AdapterInfo struct {
	Kind    AdapterKind
	Name    string
	Tensors uint32
	Bytes   uint64
	// Alpha is a LoRA's; 0: what it adds is not divided by the rank.
	Alpha float32
}

// Adapters gives the adapters beside a file, in their order.
func (f *File) Adapters() ([]AdapterInfo, error) {
	defer runtime.KeepAlive(f)
	var all []AdapterInfo
	for {
		a := abi.AdapterInfo{StructSize: sizeof[abi.AdapterInfo]()}
		err := call(func() int32 { return abi.FileGetAdapter(f.h, uint32(len(all)), &a) })
		if errors.Is(err, NotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, AdapterInfo{AdapterKind(a.Kind), chars(a.Name[:]), a.NTensors, a.NBytes, a.Alpha})
	}
}
