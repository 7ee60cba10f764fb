//! Contexts: the devices, the threads and the log that everything else belongs to.

use std::ffi::{CString, c_char, c_void};

use super::error::{REKINDLE_ABI_VERSION, UserData, rekindle_status};
use super::guard::guard;
use super::handle::{create, destroy, get};
use super::structs::{Struct, chars, place, read_or_default, text, write};
use crate::context::{Context, LogFn, LogLevel};
use crate::device::Kind;
use crate::error::{Error, Status};

/// The devices that models may use, the CPU threads, and a log. Several contexts may live side by side; they share
/// nothing.
pub struct rekindle_context {
    _private: (),
}

/// Levels of log messages; a higher one tells more.
pub const REKINDLE_LOG_ERROR: i32 = 1;
pub const REKINDLE_LOG_WARN: i32 = 2;
pub const REKINDLE_LOG_INFO: i32 = 3;
pub const REKINDLE_LOG_DEBUG: i32 = 4;

/// Gets a log message: NUL-terminated UTF-8, valid during the call. It is called from any thread that uses the context,
/// one call at a time.
pub type rekindle_log_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, message: *const c_char)>;

/// For rekindle_context_create. Zero in every field but struct_size is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_context_params {
    /// sizeof(rekindle_context_params), set by the caller.
    pub struct_size: u32,
    /// CPU threads, up to 1024; 0 means one per core. Where other programs want the cores too, fewer of them take part
    /// while that is faster; results are the same bits whatever the number.
    pub n_threads: u32,
    /// The devices to use, as a device spec: UTF-8 of devices_len bytes, or NULL with 0.
    ///
    /// As words: "" or "auto" is everything that is found on this machine; a CUDA device that fails is left out, and
    /// plans say why. "cpu" is this machine's CPU. "cuda" are its CUDA devices and "cuda:2" the first two of them; it
    /// is an error if they are not there. "k80:4,cpu" are four described dies of a built-in profile, and the CPU. At
    /// most 24 devices.
    ///
    /// As JSON: an array of devices, or an object with "devices" and "links". A device has "kind" ("cpu" or "cuda") or
    /// "profile" ("k80"). It may have "count", "name", "total_bytes", "free_bytes", "driver_bytes" (taken by the driver
    /// for itself), "read_bandwidth" (bytes per second, plain reads), "flops" (float32 operations per second),
    /// "host_bandwidth" (bytes per second to the host), "compute_capability" ("3.7") and "board" (devices of one board
    /// share its link to the host). A link has "between" (two devices by their place in the list) and "bandwidth"
    /// (bytes per second without the host).
    ///
    /// A device with "kind": "cuda" and "ordinal" is the found one of that number. Only "free_bytes" can be said of it
    /// besides, the part of its memory that may be used; it may be listed twice, as two dies. A "cuda" with neither
    /// "profile" nor "ordinal" needs "total_bytes". {"kind": "cpu"} is this machine's; with "total_bytes" or
    /// "free_bytes" it is a described one (to limit the found one, use the limits and reserve_bytes of a plan).
    ///
    /// In the context the dies (single GPUs; a K80 card has two) come first and the CPU last. The CPU is always there,
    /// since the host reads the token embedding, but it computes layers only if the spec names it. Described devices
    /// can be planned for, not loaded.
    pub devices: *const c_char,
    pub devices_len: usize,
    /// Gets the log messages; NULL means silence.
    pub log: rekindle_log_fn,
    pub log_user_data: *mut c_void,
    /// The last level to be told of, REKINDLE_LOG_…; 0 means REKINDLE_LOG_WARN.
    pub log_level: i32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_context_params {
    const NAME: &'static str = "rekindle_context_params";
}

/// Creates a context. `abi_version` is REKINDLE_ABI_VERSION; `params` may be NULL. On success `*context` is a handle
/// that rekindle_context_destroy ends.
///
/// REKINDLE_ABI_MISMATCH: the library is older than the header. REKINDLE_INVALID_ARGUMENT: the device spec, the number
/// of threads or an environment variable is not valid. REKINDLE_DEVICE: CUDA devices were named and are not there, or
/// one fails.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_context_create(
    abi_version: u32,
    params: *const rekindle_context_params,
    context: *mut *mut rekindle_context,
) -> rekindle_status {
    guard("rekindle_context_create", || {
        if abi_version == 0 || abi_version > REKINDLE_ABI_VERSION {
            return Err(Error::new(
                Status::AbiMismatch,
                format!(
                    "the host's header has ABI version {abi_version}, this library serves versions 1 to \
                     {REKINDLE_ABI_VERSION}"
                ),
            )
            .subject("abi_version"));
        }
        let out = place(context, "context")?;
        // SAFETY: the caller's struct and text.
        let (p, spec) = unsafe {
            let p = read_or_default(params)?;
            (p, text(p.devices, p.devices_len, "devices")?)
        };
        let level = match p.log_level {
            REKINDLE_LOG_ERROR => LogLevel::Error,
            0 | REKINDLE_LOG_WARN => LogLevel::Warn,
            REKINDLE_LOG_INFO => LogLevel::Info,
            REKINDLE_LOG_DEBUG => LogLevel::Debug,
            other => return Err(Error::invalid(format!("log_level is {other}, expected 0 to 4")).subject("log_level")),
        };
        let data = UserData(p.log_user_data);
        let log = p.log.map(|log| -> LogFn {
            Box::new(move |level, message| {
                let message = CString::new(message.replace('\0', "")).unwrap_or_default();
                // SAFETY: the host's function and its own pointer.
                unsafe { log(data.get(), level as i32, message.as_ptr()) }
            })
        });
        let handle = create(Context::new(spec, p.n_threads, log, level)?)?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a context. Files, plans and models that were made with it go on, and its log is called until the last of
/// them is gone. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_context_destroy(context: *mut rekindle_context) -> rekindle_status {
    guard("rekindle_context_destroy", || destroy::<Context, _>(context))
}

/// The devices and threads of a context.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_context_info {
    /// sizeof(rekindle_context_info), set by the caller.
    pub struct_size: u32,
    pub n_devices: u32,
    /// CPU threads.
    pub n_threads: u32,
    /// Zero.
    pub reserved: u32,
    /// The instruction set of the CPU kernels: "avx512", "avx2", "neon", "portable".
    pub isa: [c_char; 16],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_context_info {
    const NAME: &'static str = "rekindle_context_info";
}

/// Tells how many devices and threads a context has. It may run at the same time as other calls on it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_context_get_info(
    context: *const rekindle_context,
    info: *mut rekindle_context_info,
) -> rekindle_status {
    guard("rekindle_context_get_info", || {
        let c = get::<Context, _>(context)?;
        let value = rekindle_context_info {
            struct_size: 0,
            n_devices: c.devices().len() as u32,
            n_threads: c.n_threads(),
            reserved: 0,
            isa: chars(c.isa().name()),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}

/// Kinds of devices.
pub const REKINDLE_DEVICE_CPU: i32 = 0;
pub const REKINDLE_DEVICE_CUDA: i32 = 1;

/// A device of a context.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_device_info {
    /// sizeof(rekindle_device_info), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_DEVICE_…
    pub kind: i32,
    /// Bytes of memory, and those that were free when the context was created.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Plain reads from its memory, bytes per second; 0 if not known.
    pub read_bandwidth: f64,
    /// CUDA compute capability; 0.0 for the CPU.
    pub compute_major: u32,
    pub compute_minor: u32,
    /// The number of its board. Devices on one board share its link to the host.
    pub board: u32,
    /// Non-zero: the device was described, not found. It can be planned for but not loaded.
    pub described: u32,
    pub name: [c_char; 128],
    /// Bytes that the driver takes of the memory as soon as a program uses the device.
    pub driver_bytes: u64,
    /// Float32 operations per second, and bytes per second to and from the host; 0 if not known.
    pub flops: f64,
    pub host_bandwidth: f64,
    /// Non-zero: layers may be placed on it.
    pub takes_layers: u32,
    /// Zero.
    pub reserved: u32,
    /// The CUDA driver's number of a device that was found; -1 for others.
    pub cuda_ordinal: i32,
    /// The devices that it copies from and to without the host: the lowest bit stands for device 0. The copies were
    /// proved both ways when the context was created, or the link was described.
    pub peers: u32,
    /// The image of the kernels that a found device runs: "sm_37 cubin", or PTX that the driver compiles at the first
    /// load.
    pub image: [c_char; 64],
}

// SAFETY: repr(C), no padding, plain numbers.
unsafe impl Struct for rekindle_device_info {
    const NAME: &'static str = "rekindle_device_info";
}

/// Tells what device `index` of a context is.
///
/// REKINDLE_NOT_FOUND: there is no such device.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_context_get_device(
    context: *const rekindle_context,
    index: u32,
    info: *mut rekindle_device_info,
) -> rekindle_status {
    guard("rekindle_context_get_device", || {
        let c = get::<Context, _>(context)?;
        let d = c.devices().get(index as usize).ok_or_else(|| {
            Error::not_found(format!("device {index} is out of range, the context has {}", c.devices().len()))
                .subject("index")
        })?;
        let value = rekindle_device_info {
            struct_size: 0,
            kind: match d.kind {
                Kind::Cpu => REKINDLE_DEVICE_CPU,
                Kind::Cuda => REKINDLE_DEVICE_CUDA,
            },
            total_bytes: d.total_bytes,
            free_bytes: d.free_bytes,
            read_bandwidth: d.read_bandwidth,
            compute_major: d.compute_major,
            compute_minor: d.compute_minor,
            board: d.board,
            described: u32::from(d.described),
            name: chars(&d.name),
            driver_bytes: d.driver_bytes,
            flops: d.flops,
            host_bandwidth: d.host_bandwidth,
            takes_layers: u32::from(d.takes_layers),
            reserved: 0,
            cuda_ordinal: d.ordinal.map_or(-1, |n| n as i32),
            peers: c.inventory().peers(index as usize).fold(0, |mask, other| mask | 1 << other),
            image: chars(&d.image),
        };
        // SAFETY: the caller's struct.
        unsafe { write(info, &value) }
    })
}
