// Package rekindle runs GGUF language models: plan memory to the byte, load, decode.
//
// It links librekindle by cgo. Without an installation, tell cgo where header and library are:
//
//	CGO_CFLAGS=-I/path/include CGO_LDFLAGS=-L/path/build LD_LIBRARY_PATH=/path/build go test
//
// Close closes an object, or the garbage collector does at the latest. The things that an object needs in the library
// stay alive. A closed object's methods give an Error with status BadHandle, and closing it again does nothing: the
// library never uses a handle twice. Methods may be called from several goroutines; of those that change a model one
// runs, and another gets an Error with status Busy.
package rekindle

/*
#cgo LDFLAGS: -lrekindle
#include "rekindle.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Status is a number of rekindle_status.
type Status int32

// The statuses of rekindle.h.
const (
	InvalidArgument Status = C.REKINDLE_INVALID_ARGUMENT
	OutOfMemory     Status = C.REKINDLE_OUT_OF_MEMORY
	IO              Status = C.REKINDLE_IO
	BadFile         Status = C.REKINDLE_BAD_FILE
	Unsupported     Status = C.REKINDLE_UNSUPPORTED
	NotFit          Status = C.REKINDLE_NOT_FIT
	ContextFull     Status = C.REKINDLE_CONTEXT_FULL
	Cancelled       Status = C.REKINDLE_CANCELLED
	Busy            Status = C.REKINDLE_BUSY
	BufferTooSmall  Status = C.REKINDLE_BUFFER_TOO_SMALL
	NotFound        Status = C.REKINDLE_NOT_FOUND
	AbiMismatch     Status = C.REKINDLE_ABI_MISMATCH
	BadHandle       Status = C.REKINDLE_BAD_HANDLE
	Internal        Status = C.REKINDLE_INTERNAL
	Device          Status = C.REKINDLE_DEVICE
)

// Error is what a failed call gives.
type Error struct {
	Status  Status
	Message string
	// Subject is the key, tensor, parameter or field at fault.
	Subject string
	// Needed and Available are bytes, or tokens for ContextFull.
	Needed, Available uint64
}

func (e *Error) Error() string { return "rekindle: " + e.Message }

// call runs one C call on a locked thread, since the last error belongs to the thread.
func call(f func() C.rekindle_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status := f()
	if status == C.REKINDLE_OK {
		return nil
	}
	d := C.rekindle_error_detail{struct_size: C.sizeof_rekindle_error_detail}
	message := C.GoString(C.rekindle_last_error())
	C.rekindle_last_error_detail(&d)
	return &Error{Status(status), message, C.GoString(&d.subject[0]), uint64(d.needed), uint64(d.available)}
}

// bytes gives C a view of a string.
func bytes(s string) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s))), C.size_t(len(s))
}

// text reads a text of unknown length.
func text(f func(buffer *C.char, capacity C.size_t, needed *C.size_t) C.rekindle_status) (string, error) {
	var needed C.size_t
	if err := call(func() C.rekindle_status { return f(nil, 0, &needed) }); err != nil {
		return "", err
	}
	buffer := make([]byte, int(needed))
	p := (*C.char)(unsafe.Pointer(&buffer[0]))
	if err := call(func() C.rekindle_status { return f(p, needed, &needed) }); err != nil {
		return "", err
	}
	return string(buffer[:needed-1]), nil
}

// Version is the library's version.
func Version() string { return C.GoString(C.rekindle_version()) }

// Context holds devices and threads.
type Context struct{ h *C.rekindle_context }

// NewContext creates a context. devices is "auto", "cpu", described ones as "k80:4,cpu", or JSON (see
// rekindle_context_params in rekindle.h); threads 0 means one per core.
func NewContext(devices string, threads uint32) (*Context, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := C.rekindle_context_params{struct_size: C.sizeof_rekindle_context_params, n_threads: C.uint32_t(threads)}
	p.devices, p.devices_len = bytes(devices)
	if len(devices) > 0 {
		pin.Pin(p.devices)
	}
	c := &Context{}
	err := call(func() C.rekindle_status { return C.rekindle_context_create(C.REKINDLE_ABI_VERSION, &p, &c.h) })
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(c, (*Context).Close)
	return c, nil
}

// Kind is what a device is.
type Kind int32

// The kinds of devices.
const (
	CPU  Kind = C.REKINDLE_DEVICE_CPU
	CUDA Kind = C.REKINDLE_DEVICE_CUDA
)

// DeviceInfo is a device of a context; rates that are not known are 0.
type DeviceInfo struct {
	Kind Kind
	Name string
	// TotalBytes of memory, how many were free when the context was created, and what the driver takes of them.
	TotalBytes, FreeBytes, DriverBytes uint64
	// ReadBandwidth of its memory and HostBandwidth to the host, bytes per second.
	ReadBandwidth, HostBandwidth float64
	// Flops are float32 operations per second.
	Flops                      float64
	ComputeMajor, ComputeMinor uint32
	// Board is shared by devices that share its link to the host.
	Board uint32
	// Described devices can be planned for, not loaded.
	Described bool
	// TakesLayers tells whether layers may be placed on it.
	TakesLayers bool
}

// Devices of the context, dies first, the CPU last.
func (c *Context) Devices() ([]DeviceInfo, error) {
	defer runtime.KeepAlive(c)
	info := C.rekindle_context_info{struct_size: C.sizeof_rekindle_context_info}
	if err := call(func() C.rekindle_status { return C.rekindle_context_get_info(c.h, &info) }); err != nil {
		return nil, err
	}
	devices := make([]DeviceInfo, int(info.n_devices))
	for i := range devices {
		d := C.rekindle_device_info{struct_size: C.sizeof_rekindle_device_info}
		err := call(func() C.rekindle_status { return C.rekindle_context_get_device(c.h, C.uint32_t(i), &d) })
		if err != nil {
			return nil, err
		}
		devices[i] = DeviceInfo{
			Kind: Kind(d.kind), Name: C.GoString(&d.name[0]),
			TotalBytes: uint64(d.total_bytes), FreeBytes: uint64(d.free_bytes), DriverBytes: uint64(d.driver_bytes),
			ReadBandwidth: float64(d.read_bandwidth), HostBandwidth: float64(d.host_bandwidth),
			Flops: float64(d.flops), ComputeMajor: uint32(d.compute_major), ComputeMinor: uint32(d.compute_minor),
			Board: uint32(d.board), Described: d.described != 0, TakesLayers: d.takes_layers != 0,
		}
	}
	return devices, nil
}

// Close ends the context; files, plans and models made with it go on.
func (c *Context) Close() {
	runtime.SetFinalizer(c, nil)
	C.rekindle_context_destroy(c.h)
}

// File is a GGUF file's header.
type File struct{ h *C.rekindle_file }

// Open reads a file's header, or those of a split file.
func (c *Context) Open(path string) (*File, error) {
	return c.OpenWith(path, "")
}

// OpenWith is Open with values in place of those that keys of the file have: a JSON object, as
// {"llama.rope.freq_base": 500000.0}. A key that the file has keeps its type.
func (c *Context) OpenWith(path, overrides string) (*File, error) {
	f := &File{}
	p, n := bytes(path)
	o, m := bytes(overrides)
	err := call(func() C.rekindle_status { return C.rekindle_file_open_with(c.h, p, n, o, m, &f.h) })
	if err != nil {
		return nil, err
	}
	runtime.KeepAlive(c)
	runtime.SetFinalizer(f, (*File).Close)
	return f, nil
}

// Adapt gives a file with adapters beside it: GGUF files of LoRAs and of control vectors, numbered in this order.
// Nothing changes until a scale is set: by Model.SetAdapters or GenerationParams.AdapterScales.
func (c *Context) Adapt(f *File, paths ...string) (*File, error) {
	adapted := &File{}
	var pin runtime.Pinner
	defer pin.Unpin()
	texts, lens := make([]*C.char, len(paths)+1), make([]C.size_t, len(paths)+1)
	for i, p := range paths {
		if texts[i], lens[i] = bytes(p); len(p) > 0 {
			pin.Pin(texts[i])
		}
	}
	n := C.size_t(len(paths))
	err := call(func() C.rekindle_status {
		return C.rekindle_file_adapt(c.h, f.h, &texts[0], &lens[0], n, &adapted.h)
	})
	if err != nil {
		return nil, err
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(f)
	runtime.SetFinalizer(adapted, (*File).Close)
	return adapted, nil
}

// Close ends the file; plans and models made from it go on.
func (f *File) Close() {
	runtime.SetFinalizer(f, nil)
	C.rekindle_file_close(f.h)
}

// Key gives a key's value as text, of an array at most max elements.
func (f *File) Key(name string, max uint32) (string, error) {
	var index C.uint32_t
	p, n := bytes(name)
	if err := call(func() C.rekindle_status { return C.rekindle_file_find_key(f.h, p, n, &index) }); err != nil {
		return "", err
	}
	defer runtime.KeepAlive(f)
	return text(func(b *C.char, c C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_file_key_text(f.h, index, C.uint32_t(max), b, c, needed)
	})
}
