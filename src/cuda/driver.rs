//! The driver's functions, found in libcuda.so.1 at run time, and the meaning of their answers.
//!
//! Statuses are taken as plain numbers: a newer driver has some that this library does not know.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys;

use crate::error::{Error, Result, Status};

pub(super) type Handle = *mut c_void;

/// An address in a die's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ptr(pub u64);

impl Ptr {
    pub const NULL: Ptr = Ptr(0);
    #[expect(clippy::should_implement_trait, reason = "it is named like the method of Rust's own pointers")]
    pub fn add(self, bytes: usize) -> Ptr {
        Ptr(self.0 + bytes as u64)
    }
}

/// The oldest driver that serves: CUDA 11.4, the last for Kepler.
const OLDEST: c_int = 11040;
const OUT_OF_MEMORY: c_int = 2;
const NO_DEVICE: c_int = 100;

macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        /// The functions in use, by their own names.
        #[allow(non_snake_case)]
        #[derive(Clone, Copy)]
        pub(super) struct Driver {
            $($name: unsafe extern "C" fn($($ty),*) -> c_int,)*
        }

        impl Driver {
            fn find() -> Result<Driver> {
                // SAFETY: the library is there, as its caller made sure.
                let library = unsafe { sys::culib() };
                Ok(Driver { $($name: {
                    let name = concat!(stringify!($name), "\0");
                    // SAFETY: the type is that of the driver's header.
                    *unsafe { library.get(name.as_bytes()) }
                        .map_err(|_| none(concat!("the NVIDIA driver has no ", stringify!($name))))?
                },)* })
            }

            $(
                /// # Safety
                /// As the driver's documentation says of the arguments.
                #[allow(non_snake_case, dead_code, clippy::too_many_arguments)]
                pub(super) unsafe fn $name(&self, on: u32, $($arg: $ty),*) -> Result<()> {
                    // SAFETY: as the caller says.
                    match unsafe { (self.$name)($($arg),*) } {
                        0 => Ok(()),
                        code => Err(self.failed(on, stringify!($name), code)),
                    }
                }
            )*
        }
    };
}

functions! {
    cuInit(flags: c_uint);
    cuDriverGetVersion(version: *mut c_int);
    cuDeviceGetCount(count: *mut c_int);
    cuDeviceGet(device: *mut c_int, ordinal: c_int);
    cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int);
    cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int);
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int);
    cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, peer: c_int);
    cuCtxCreate_v2(context: *mut Handle, flags: c_uint, device: c_int);
    cuCtxDestroy_v2(context: Handle);
    cuCtxPopCurrent_v2(context: *mut Handle);
    cuCtxSetCurrent(context: Handle);
    cuCtxGetCurrent(context: *mut Handle);
    cuCtxSynchronize();
    cuCtxSetCacheConfig(config: c_uint);
    cuCtxEnablePeerAccess(peer: Handle, flags: c_uint);
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    cuMemAlloc_v2(address: *mut u64, bytes: usize);
    cuMemFree_v2(address: u64);
    cuMemHostRegister_v2(at: *mut c_void, bytes: usize, flags: c_uint);
    cuMemHostUnregister(at: *mut c_void);
    cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle);
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle);
    cuMemcpyPeerAsync(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle);
    cuMemsetD8Async(to: u64, value: u8, n: usize, stream: Handle);
    cuStreamCreate(stream: *mut Handle, flags: c_uint);
    cuStreamDestroy_v2(stream: Handle);
    cuStreamSynchronize(stream: Handle);
    cuStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint);
    cuStreamBeginCapture_v2(stream: Handle, mode: c_uint);
    cuStreamEndCapture(stream: Handle, graph: *mut Handle);
    cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, flags: u64);
    cuGraphLaunch(exec: Handle, stream: Handle);
    cuGraphExecDestroy(exec: Handle);
    cuGraphDestroy(graph: Handle);
    cuEventCreate(event: *mut Handle, flags: c_uint);
    cuEventDestroy_v2(event: Handle);
    cuEventRecord(event: Handle, stream: Handle);
    cuEventSynchronize(event: Handle);
    cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle);
    cuModuleLoadData(module: *mut Handle, image: *const c_void);
    cuModuleUnload(module: Handle);
    cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char);
    cuLaunchKernel(
        function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint, shared_bytes: c_uint, stream: Handle,
        params: *mut *mut c_void, extra: *mut *mut c_void
    );
    cuGetErrorName(error: c_int, text: *mut *const c_char);
    cuGetErrorString(error: c_int, text: *mut *const c_char);
}

/// The `extra` of `cuLaunchKernel`: a kernel's arguments as one buffer of `bytes` bytes. Keys and values take turns; a
/// null ends them.
pub(super) fn launch_buffer(args: *const c_void, bytes: &usize) -> [*mut c_void; 5] {
    const BUFFER_POINTER: *mut c_void = std::ptr::without_provenance_mut(1);
    const BUFFER_SIZE: *mut c_void = std::ptr::without_provenance_mut(2);
    [BUFFER_POINTER, args.cast_mut(), BUFFER_SIZE, (&raw const *bytes).cast_mut().cast(), null_mut()]
}

/// Stands for no device in particular.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Driver {
    /// The driver of this machine, started.
    ///
    /// # Errors
    /// `Device`, with why there is none that serves: no libcuda.so.1, one that is too old, no device.
    pub(super) fn open() -> Result<Driver> {
        // SAFETY: looks whether the library can be loaded; the driver's library has no harmful constructors.
        if !unsafe { sys::is_culib_present() } {
            return Err(none("libcuda.so.1, the NVIDIA driver's library, is not there"));
        }
        let driver = Driver::find()?;
        let mut version = 0;
        // SAFETY: a place for the number.
        unsafe { driver.cuDriverGetVersion(NOWHERE, &mut version) }?;
        if version < OLDEST {
            let shown = |v: c_int| format!("{}.{}", v / 1000, v % 1000 / 10);
            return Err(none(format!(
                "the NVIDIA driver serves CUDA {}, expected {} or newer",
                shown(version),
                shown(OLDEST)
            )));
        }
        // SAFETY: no conditions.
        match unsafe { (driver.cuInit)(0) } {
            0 => Ok(driver),
            NO_DEVICE => Err(none("the NVIDIA driver finds no device")),
            code => Err(driver.failed(NOWHERE, "cuInit", code)),
        }
    }

    /// The driver's name of a status.
    fn name(&self, code: c_int) -> String {
        let text = |f: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int| {
            let mut at: *const c_char = std::ptr::null();
            // SAFETY: a place for the pointer; the driver's texts live as long as it does.
            unsafe {
                (f(code, &mut at) == 0 && !at.is_null()).then(|| CStr::from_ptr(at).to_string_lossy().into_owned())
            }
        };
        match (text(self.cuGetErrorName), text(self.cuGetErrorString)) {
            (Some(name), Some(what)) => format!("{name} ({what})"),
            _ => format!("error {code}"),
        }
    }

    /// A call's failure: out of memory, or something about the device.
    fn failed(&self, on: u32, call: &str, code: c_int) -> Error {
        let die = if on == NOWHERE { "CUDA".to_owned() } else { format!("device {on}") };
        let status = if code == OUT_OF_MEMORY { Status::OutOfMemory } else { Status::Device };
        let mut e = Error::new(status, format!("{die}: {call}: {}", self.name(code))).subject(call);
        e.detail.device = (on != NOWHERE).then_some(on);
        e
    }
}

/// The error that says why there is no driver to work with.
pub(super) fn none(why: impl Into<String>) -> Error {
    Error::new(Status::Device, why).subject("libcuda.so.1")
}

/// Null, to be filled in by the driver.
pub(super) const NONE: Handle = null_mut();
