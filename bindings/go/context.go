package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Context holds devices, threads and a log. Several may live side by side; they share nothing.
type Context struct{ h abi.Handle }

// LogLevel says how much a log tells.
type LogLevel int32

// The levels of log messages; a higher one tells more.
const (
	LogError LogLevel = abi.LOG_ERROR
	LogWarn  LogLevel = abi.LOG_WARN
	LogInfo  LogLevel = abi.LOG_INFO
	LogDebug LogLevel = abi.LOG_DEBUG
)

// ContextOptions are the wishes for a context. The zero value means the defaults.
type ContextOptions struct {
	// Threads of the CPU; 0 means one per core.
	Threads uint32
	// Log gets the messages, from any goroutine that uses the context, one at a time, until the last file, plan and
	// model of the context is gone; nil means silence. It is kept for the life of the process.
	Log func(level LogLevel, message string)
	// LogLevel is the last level to be told of; 0 means LogWarn.
	LogLevel LogLevel
}

// NewContext creates a context. devices is "auto", "cpu", described ones as "k80:4,cpu", or JSON (see
// rekindle_context_params in rekindle.h); threads 0 means one per core.
func NewContext(devices string, threads uint32) (*Context, error) {
	return NewContextWith(devices, ContextOptions{Threads: threads})
}

// NewContextWith is NewContext with options.
func NewContextWith(devices string, o ContextOptions) (*Context, error) {
	if err := abi.Open(); err != nil {
		return nil, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	p := abi.ContextParams{StructSize: sizeof[abi.ContextParams](), NThreads: o.Threads, LogLevel: int32(o.LogLevel)}
	p.Devices, p.DevicesLen = view(&pin, devices)
	if o.Log != nil {
		p.Log, p.LogUserData = abi.LogFn, abi.Register(abi.LogFunc(func(level int32, message string) {
			aside(func() { o.Log(LogLevel(level), message) })
		}))
	}
	h, err := created(func(h *abi.Handle) int32 { return abi.ContextCreate(abi.ABI_VERSION, &p, h) })
	if err != nil {
		if o.Log != nil {
			abi.Release(p.LogUserData)
		}
		return nil, err
	}
	c := &Context{h}
	closes(c, (*Context).Close)
	return c, nil
}

// Close ends the context; files, plans and models made with it go on.
func (c *Context) Close() {
	runtime.SetFinalizer(c, nil)
	abi.ContextDestroy(c.h)
}

// ContextInfo is what a context has.
type ContextInfo struct {
	Devices, Threads uint32
	// ISA is the instruction set of the CPU's kernels: "avx512", "avx2", "neon", "portable".
	ISA string
}

// Info tells how many devices and threads the context has.
func (c *Context) Info() (ContextInfo, error) {
	defer runtime.KeepAlive(c)
	i := abi.ContextInfo{StructSize: sizeof[abi.ContextInfo]()}
	err := call(func() int32 { return abi.ContextGetInfo(c.h, &i) })
	return ContextInfo{i.NDevices, i.NThreads, chars(i.Isa[:])}, err
}

// Kind is what a device is.
type Kind int32

// The kinds of devices.
const (
	CPU  Kind = abi.DEVICE_CPU
	CUDA Kind = abi.DEVICE_CUDA
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
	// CUDAOrdinal is the CUDA driver's number of a device that was found; -1 for others.
	CUDAOrdinal int32
	// Peers are the devices that it copies from and to without the host; the lowest bit stands for device 0.
	Peers uint32
	// Image is that of the kernels that a found CUDA device runs.
	Image string
}

// Devices of the context, dies first, the CPU last.
func (c *Context) Devices() ([]DeviceInfo, error) {
	defer runtime.KeepAlive(c)
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	devices := make([]DeviceInfo, info.Devices)
	for i := range devices {
		d := abi.DeviceInfo{StructSize: sizeof[abi.DeviceInfo]()}
		if err := call(func() int32 { return abi.ContextGetDevice(c.h, uint32(i), &d) }); err != nil {
			return nil, err
		}
		devices[i] = DeviceInfo{
			Kind: Kind(d.Kind), Name: chars(d.Name[:]),
			TotalBytes: d.TotalBytes, FreeBytes: d.FreeBytes, DriverBytes: d.DriverBytes,
			ReadBandwidth: d.ReadBandwidth, HostBandwidth: d.HostBandwidth, Flops: d.Flops,
			ComputeMajor: d.ComputeMajor, ComputeMinor: d.ComputeMinor, Board: d.Board,
			Described: d.Described != 0, TakesLayers: d.TakesLayers != 0,
			CUDAOrdinal: d.CudaOrdinal, Peers: d.Peers, Image: chars(d.Image[:]),
		}
	}
	return devices, nil
}
