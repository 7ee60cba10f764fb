//! The host's structs, read and written by the size that it says they have; its strings and arrays.

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};

/// A struct of the ABI.
///
/// # Safety
/// `#[repr(C)]`, without padding, its first field `struct_size: u32`, and all-zero bytes are a valid value.
pub(super) unsafe trait Struct: Copy {
    const NAME: &'static str;
}

/// No struct will ever be larger than this. A larger size is a mistake of the host.
const MAX_SIZE: usize = 1 << 16;
/// The size of `struct_size` and one field.
const MIN_SIZE: usize = 8;

fn size_of_host<T: Struct>(p: *const T) -> Result<usize> {
    if p.is_null() {
        return Err(Error::invalid(format!("{} is NULL", T::NAME)).subject(T::NAME));
    }
    // SAFETY: the host passes a pointer to a struct that begins with its size.
    let size = unsafe { p.cast::<u32>().read_unaligned() } as usize;
    // A size that ends inside a field would be half a pointer; sizeof never does.
    if !(MIN_SIZE..=MAX_SIZE).contains(&size) || !size.is_multiple_of(align_of::<T>()) {
        let text = format!("{}.struct_size is {size}, expected {} (sizeof the struct)", T::NAME, size_of::<T>());
        return Err(Error::invalid(text).subject("struct_size"));
    }
    Ok(size)
}

/// Reads the caller's struct. Fields that an older host does not have become zero; fields that this library does not
/// know must be zero.
///
/// # Safety
/// `p` is null or has the bytes that its `struct_size` says.
pub(super) unsafe fn read<T: Struct>(p: *const T) -> Result<T> {
    let size = size_of_host(p)?;
    // SAFETY: all-zero bytes are a valid value, by the trait's contract.
    let mut value: T = unsafe { std::mem::zeroed() };
    let known = size.min(size_of::<T>());
    // SAFETY: both have that many bytes.
    unsafe { std::ptr::copy_nonoverlapping(p.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
    for offset in known..size {
        // SAFETY: within the host's struct.
        if unsafe { p.cast::<u8>().add(offset).read() } != 0 {
            return Err(Error::invalid(format!(
                "{} has a non-zero byte at offset {offset}, behind the {} bytes that this library knows",
                T::NAME,
                size_of::<T>()
            ))
            .subject(T::NAME));
        }
    }
    Ok(value)
}

/// As `read`; NULL stands for all defaults.
///
/// # Safety
/// As for `read`.
pub(super) unsafe fn read_or_default<T: Struct>(p: *const T) -> Result<T> {
    if p.is_null() {
        // SAFETY: all-zero bytes are a valid value, by the trait's contract.
        return Ok(unsafe { std::mem::zeroed() });
    }
    // SAFETY: as the caller says.
    unsafe { read(p) }
}

/// Checks beforehand that `write` will work, so that nothing is computed in vain.
pub(super) fn check_out<T: Struct>(p: *const T) -> Result<()> {
    size_of_host(p).map(|_| ())
}

/// Fills the caller's struct as far as it goes. Fields of a newer host that this library does not know become zero, and
/// `struct_size` stays as the host set it.
///
/// # Safety
/// `p` is null or has, writable, the bytes that its `struct_size` says.
pub(super) unsafe fn write<T: Struct>(p: *mut T, value: &T) -> Result<()> {
    let size = size_of_host(p)?;
    let (from, to) = (std::ptr::from_ref(value).cast::<u8>(), p.cast::<u8>());
    let known = size.min(size_of::<T>());
    // SAFETY: both have that many bytes; the first four are the host's.
    unsafe {
        std::ptr::copy_nonoverlapping(from.add(4), to.add(4), known - 4);
        std::ptr::write_bytes(to.add(known), 0, size - known);
    }
    Ok(())
}

/// The place for a result, which must not be NULL.
pub(super) fn place<T>(p: *mut T, name: &str) -> Result<*mut T> {
    if p.is_null() {
        return Err(Error::invalid(format!("{name} is NULL")).subject(name));
    }
    Ok(p)
}

/// An array of the host. It may be NULL if the length is 0.
///
/// # Safety
/// `p` is null or has `n` elements that stay as they are during the call.
pub(super) unsafe fn slice<'a, T>(p: *const T, n: usize, name: &str) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    if p.is_null() || !p.is_aligned() || n > isize::MAX as usize / size_of::<T>().max(1) {
        let what = if p.is_null() { "NULL" } else { "misaligned or too long" };
        return Err(Error::invalid(format!("{name} is {what} (length {n})")).subject(name));
    }
    // SAFETY: not null, aligned, and as long as the caller says.
    Ok(unsafe { std::slice::from_raw_parts(p, n) })
}

/// A text of the host.
///
/// # Safety
/// As for `slice`.
pub(super) unsafe fn text<'a>(p: *const c_char, n: usize, name: &str) -> Result<&'a str> {
    // SAFETY: as the caller says.
    let bytes = unsafe { slice(p.cast::<u8>(), n, name) }?;
    std::str::from_utf8(bytes)
        .map_err(|e| Error::invalid(format!("{name} is no valid UTF-8 at byte {}", e.valid_up_to())).subject(name))
}

/// The most bytes of a path.
const LONGEST_PATH: usize = 4095;

/// A path of the host, in the system's bytes.
///
/// # Safety
/// As for `slice`.
pub(super) unsafe fn path<'a>(p: *const c_char, n: usize, name: &str) -> Result<&'a Path> {
    // SAFETY: as the caller says.
    let bytes = unsafe { slice(p.cast::<u8>(), n, name) }?;
    if bytes.is_empty() || bytes.len() > LONGEST_PATH || bytes.contains(&0) {
        let text = format!("{name} has {n} bytes, expected 1 to {LONGEST_PATH}, none of them NUL");
        return Err(Error::invalid(text).subject(name));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// A text for a field of fixed size: NUL-terminated, and cut between two characters if it is too long.
pub(super) fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    let mut end = text.len().min(N.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (o, b) in out.iter_mut().zip(&text.as_bytes()[..end]) {
        *o = *b as c_char;
    }
    out
}
