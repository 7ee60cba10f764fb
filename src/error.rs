//! The one error type: a status with a fixed number, a message for people, and details for programs.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// Status numbers of the C ABI. A number is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    Ok = 0,
    InvalidArgument = 1,
    OutOfMemory = 2,
    Io = 3,
    BadFile = 4,
    Unsupported = 5,
    NotFit = 6,
    ContextFull = 7,
    Cancelled = 8,
    Busy = 9,
    BufferTooSmall = 10,
    NotFound = 11,
    AbiMismatch = 12,
    BadHandle = 13,
    Internal = 14,
    Device = 15,
}

/// Details of an error for programs, beside its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// The index in the context of the device at fault, if one is.
    pub device: Option<u32>,
    /// Bytes (or tokens, for `ContextFull`) that were needed; 0 if that says nothing about this error.
    pub needed: u64,
    /// Bytes (or tokens) that were available.
    pub available: u64,
    /// The key of the file, tensor, parameter or field at fault; empty if none is.
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub status: Status,
    pub message: String,
    pub detail: Detail,
}

impl Error {
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into(), detail: Detail::default() }
    }
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Status::InvalidArgument, message)
    }
    pub fn bad_file(message: impl Into<String>) -> Error {
        Error::new(Status::BadFile, message)
    }
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Status::Unsupported, message)
    }
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Status::NotFound, message)
    }
    /// `bytes` bytes for `what` that could not be allocated.
    pub fn out_of_memory(what: &str, bytes: u64) -> Error {
        let mut e = Error::new(Status::OutOfMemory, format!("{what}: {bytes} bytes could not be allocated"));
        e.detail.needed = bytes;
        e
    }
    /// Names the key, tensor or parameter at fault.
    pub fn subject(mut self, name: impl Into<String>) -> Error {
        self.detail.subject = name.into();
        self
    }
    /// Names the amounts at fault.
    pub fn amounts(mut self, needed: u64, available: u64) -> Error {
        self.detail.needed = needed;
        self.detail.available = available;
        self
    }
    /// Puts `place: ` (a file's path, say) before the message.
    pub fn at(mut self, place: &str) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A vector of `len` copies of `fill`. If memory is short this is an error, where `vec!` would abort the process.
pub fn try_vec<T: Clone>(what: &str, len: usize, fill: T) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len)
        .map_err(|_| Error::out_of_memory(what, (len as u64).saturating_mul(size_of::<T>() as u64)))?;
    v.resize(len, fill);
    Ok(v)
}

/// Adds to a vector whose length comes from outside, as `try_vec`.
pub fn try_push<T>(what: &str, v: &mut Vec<T>, one: T) -> Result<()> {
    v.try_reserve(1).map_err(|_| Error::out_of_memory(what, size_of::<T>() as u64))?;
    v.push(one);
    Ok(())
}

/// A copy of a slice, as `try_vec`.
pub fn try_copy<T: Clone>(what: &str, from: &[T]) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(from.len()).map_err(|_| Error::out_of_memory(what, size_of_val(from) as u64))?;
    v.extend_from_slice(from);
    Ok(v)
}
