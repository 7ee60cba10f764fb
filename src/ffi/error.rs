//! Versions, statuses and the last error.

use std::ffi::{c_char, c_void};

use super::guard::{guard, guard_value, last_detail, last_message};
use super::output;
use super::structs::{Struct, chars, write};
use crate::error::{Error, Status};

/// The version of this header. A host passes it to rekindle_context_create. It grows when functions or fields are
/// added.
pub const REKINDLE_ABI_VERSION: u32 = 2;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The library's version, "major.minor.patch". It lives as long as the library.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_version() -> *const c_char {
    guard_value("rekindle_version", c"".as_ptr(), || VERSION.as_ptr().cast())
}

/// The REKINDLE_ABI_VERSION that the library was built with: it serves hosts built with this one or an older one.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_abi_version() -> u32 {
    guard_value("rekindle_abi_version", 0, || REKINDLE_ABI_VERSION)
}

/// Every function that can fail returns one of these: REKINDLE_OK (0) or one of the numbers below, which are never
/// reused.
pub type rekindle_status = i32;

/// Done.
pub const REKINDLE_OK: rekindle_status = 0;
/// An argument, field or text is not what it must be; the message names it and what was expected.
pub const REKINDLE_INVALID_ARGUMENT: rekindle_status = 1;
/// Memory, or another resource of the system, could not be had.
pub const REKINDLE_OUT_OF_MEMORY: rekindle_status = 2;
/// A file could not be read.
pub const REKINDLE_IO: rekindle_status = 3;
/// A file is not well-formed, or contradicts itself; the message names the key or tensor.
pub const REKINDLE_BAD_FILE: rekindle_status = 4;
/// A file is well-formed but asks for something that this library cannot do.
pub const REKINDLE_UNSUPPORTED: rekindle_status = 5;
/// The model does not fit on the devices; the plan says what is missing and what would help.
pub const REKINDLE_NOT_FIT: rekindle_status = 6;
/// The KV cache has too few free cells; nothing was changed.
pub const REKINDLE_CONTEXT_FULL: rekindle_status = 7;
/// The call was ended by rekindle_cancel or by a callback. Nothing was changed, except by rekindle_generate.
pub const REKINDLE_CANCELLED: rekindle_status = 8;
/// Another call is using this object, or the call that this callback belongs to.
pub const REKINDLE_BUSY: rekindle_status = 9;
/// The caller's buffer is too small; `needed` says how large it must be.
pub const REKINDLE_BUFFER_TOO_SMALL: rekindle_status = 10;
/// There is no such key, tensor, template or index.
pub const REKINDLE_NOT_FOUND: rekindle_status = 11;
/// The host was built with a header that this library does not know.
pub const REKINDLE_ABI_MISMATCH: rekindle_status = 12;
/// A handle is NULL, destroyed, or that of another kind of object.
pub const REKINDLE_BAD_HANDLE: rekindle_status = 13;
/// The library has a defect. The object may be destroyed, and everything else goes on.
pub const REKINDLE_INTERNAL: rekindle_status = 14;
/// A device or its driver failed.
pub const REKINDLE_DEVICE: rekindle_status = 15;

const NAMES: [&std::ffi::CStr; 16] = [
    c"REKINDLE_OK",
    c"REKINDLE_INVALID_ARGUMENT",
    c"REKINDLE_OUT_OF_MEMORY",
    c"REKINDLE_IO",
    c"REKINDLE_BAD_FILE",
    c"REKINDLE_UNSUPPORTED",
    c"REKINDLE_NOT_FIT",
    c"REKINDLE_CONTEXT_FULL",
    c"REKINDLE_CANCELLED",
    c"REKINDLE_BUSY",
    c"REKINDLE_BUFFER_TOO_SMALL",
    c"REKINDLE_NOT_FOUND",
    c"REKINDLE_ABI_MISMATCH",
    c"REKINDLE_BAD_HANDLE",
    c"REKINDLE_INTERNAL",
    c"REKINDLE_DEVICE",
];

/// The name of a status, "REKINDLE_OK" for example; "REKINDLE_UNKNOWN" for other numbers. It lives as long as the
/// library.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_status_name(status: rekindle_status) -> *const c_char {
    guard_value("rekindle_status_name", c"".as_ptr(), || {
        usize::try_from(status).ok().and_then(|i| NAMES.get(i)).map_or(c"REKINDLE_UNKNOWN".as_ptr(), |n| n.as_ptr())
    })
}

/// The text of the calling thread's last error, UTF-8; "" if there was none. It stays valid and unchanged until the
/// next call on this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_last_error() -> *const c_char {
    guard_value("rekindle_last_error", c"".as_ptr(), last_message)
}

/// The particulars of an error, for programs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_error_detail {
    /// sizeof(rekindle_error_detail), set by the caller.
    pub struct_size: u32,
    /// The status that was returned; REKINDLE_OK if no call of this thread failed yet.
    pub status: rekindle_status,
    /// The device at fault; -1 if none is.
    pub device: i32,
    /// Zero.
    pub reserved: u32,
    /// The bytes that were needed and those that there were; 0 if this does not apply. For REKINDLE_CONTEXT_FULL they
    /// are tokens, for a small buffer elements.
    pub needed: u64,
    pub available: u64,
    /// The key, tensor, parameter or field at fault; empty if none is.
    pub subject: [c_char; 128],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_error_detail {
    const NAME: &'static str = "rekindle_error_detail";
}

/// Tells the particulars of the calling thread's last error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_last_error_detail(detail: *mut rekindle_error_detail) -> rekindle_status {
    let (status, d) = last_detail();
    guard("rekindle_last_error_detail", || {
        let value = rekindle_error_detail {
            struct_size: 0,
            status,
            device: d.device.and_then(|i| i32::try_from(i).ok()).unwrap_or(-1),
            reserved: 0,
            needed: d.needed,
            available: d.available,
            subject: chars(&d.subject),
        };
        // SAFETY: the caller's struct.
        unsafe { write(detail, &value) }
    })
}

/// (name, what it does) of each environment variable that is read.
const ENVIRONMENT: [(&str, &str); 1] = [(
    "REKINDLE_CPU",
    "the CPU kernels' instruction set: portable, avx2, avx512 or neon; read by rekindle_context_create; \
     default: the best there is",
)];

/// Lists the environment variables that the library reads: writes "NAME: what it does" for variable `index`. Text:
/// buffer, capacity, needed.
///
/// REKINDLE_NOT_FOUND: there are no more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_environment(
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_environment", || {
        let found = ENVIRONMENT.get(index as usize);
        let (name, text) = found.ok_or_else(|| {
            Error::new(Status::NotFound, format!("environment variable {index} of {}", ENVIRONMENT.len()))
                .subject("index")
        })?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(format!("{name}: {text}").as_bytes(), buffer, capacity, needed) }
    })
}

/// A host's pointer that goes back to the host's callback, from whichever thread calls it.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub *mut c_void);

// SAFETY: the library does not look at it; the header tells hosts which threads call back.
unsafe impl Send for UserData {}

impl UserData {
    /// A method, so that closures capture the whole and not the pointer.
    pub(super) fn get(&self) -> *mut c_void {
        self.0
    }
}
