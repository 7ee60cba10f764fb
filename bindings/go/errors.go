package rekindle

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"syscall"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Status is a number of rekindle_status. It is an error, so that errors.Is(err, rekindle.NotFound) tells it.
type Status int32

// The statuses, as rekindle.h explains them.
const (
	InvalidArgument Status = abi.INVALID_ARGUMENT
	OutOfMemory     Status = abi.OUT_OF_MEMORY
	IO              Status = abi.IO
	BadFile         Status = abi.BAD_FILE
	Unsupported     Status = abi.UNSUPPORTED
	NotFit          Status = abi.NOT_FIT
	ContextFull     Status = abi.CONTEXT_FULL
	Cancelled       Status = abi.CANCELLED
	Busy            Status = abi.BUSY
	BufferTooSmall  Status = abi.BUFFER_TOO_SMALL
	NotFound        Status = abi.NOT_FOUND
	AbiMismatch     Status = abi.ABI_MISMATCH
	BadHandle       Status = abi.BAD_HANDLE
	Internal        Status = abi.INTERNAL
	Device          Status = abi.DEVICE
)

// String is the status's name in the header: "REKINDLE_NOT_FIT".
func (s Status) String() string {
	if name, known := abi.StatusNames[int32(s)]; known {
		return name
	}
	return fmt.Sprintf("REKINDLE_UNKNOWN(%d)", int32(s))
}

// Error is the status's name.
func (s Status) Error() string { return s.String() }

// Error is what a failed call gives.
type Error struct {
	Status  Status
	Message string
	// Subject is the key, tensor, parameter or field at fault; empty if none is.
	Subject string
	// Device is the device at fault; -1 if none is.
	Device int32
	// Needed and Available are bytes, or tokens for ContextFull.
	Needed, Available uint64
}

func (e *Error) Error() string { return "rekindle: " + e.Message }

// Is tells that a Status is the error's.
func (e *Error) Is(target error) bool {
	s, is := target.(Status)
	return is && s == e.Status
}

var osError = regexp.MustCompile(`\(os error (\d+)\)$`)

// Unwrap is what the system said of a file, a syscall.Errno; nil if it said nothing.
func (e *Error) Unwrap() error {
	if e.Status != IO && e.Status != NotFound {
		return nil
	}
	if found := osError.FindStringSubmatch(e.Message); found != nil {
		if n, err := strconv.Atoi(found[1]); err == nil {
			return syscall.Errno(n)
		}
	}
	return nil
}

// failure is an error that the package finds before the library would.
func failure(status Status, message, subject string) error {
	return &Error{Status: status, Message: message, Subject: subject, Device: -1}
}

// call runs one C call on a locked thread, since the last error belongs to the thread.
func call(f func() int32) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status := f()
	if status == abi.OK {
		return nil
	}
	d := abi.ErrorDetail{StructSize: sizeof[abi.ErrorDetail](), Device: -1}
	message := abi.GoString(abi.LastError())
	abi.LastErrorDetail(&d)
	return &Error{Status(status), message, chars(d.Subject[:]), d.Device, d.Needed, d.Available}
}
