//! One die as one model sees it: a driver context and a stream of its own, the modules, and every allocation.

use std::ffi::CString;

use crate::sync::Mutex;

use super::args::Args;
use super::driver::{Driver, Handle, NONE, NOWHERE, Ptr, launch_buffer};
use super::image::Shelf;
use super::kernels::{Entry, Kernel, TABLE};
use crate::error::{Error, Result, Status};

/// A mark in a die's stream that others can wait for.
#[derive(Debug, Clone, Copy)]
pub struct Event(Handle);

const PREFER_SHARED: u32 = 1;
const STREAM_NON_BLOCKING: u32 = 1;
const EVENT_DISABLE_TIMING: u32 = 2;
const CAPTURE_THREAD_LOCAL: u32 = 1;
const PEER_ACCESS_ALREADY: &str = "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED";

/// Keeps the calling thread's own context, which is made current again when this is dropped: the host may use CUDA
/// itself.
pub struct Visit {
    driver: Driver,
    before: Handle,
}

impl Visit {
    pub(super) fn new(driver: Driver) -> Result<Visit> {
        let mut before = NONE;
        // SAFETY: a place for the handle.
        unsafe { driver.cuCtxGetCurrent(NOWHERE, &mut before) }?;
        Ok(Visit { driver, before })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // SAFETY: it was current before.
        let back = || unsafe { self.driver.cuCtxSetCurrent(NOWHERE, self.before) };
        // Nobody is left to be told of a failure.
        let _ = back().or_else(|_| back());
    }
}

/// A recorded row of launches.
pub(super) struct Recorded(Handle);

/// A die in use. Dropping it gives everything back.
pub struct Die {
    driver: Driver,
    /// Index in the context's inventory, for messages.
    pub index: u32,
    device: i32,
    context: Handle,
    stream: Handle,
    modules: Vec<Handle>,
    /// The driver's handle of each kernel of the table.
    functions: Vec<Handle>,
    /// True if products of one row by blocks take fewer rows of the matrix a lane and load the next weights while they
    /// compute (kernels/matvec_blocks.h).
    pub(super) loads_ahead: bool,
    /// True if neighbouring nodes may become one launch (fuse.rs).
    pub joins: bool,
    allocations: Vec<u64>,
    events: Vec<Handle>,
    recorded: Mutex<Vec<usize>>,
}

// SAFETY: the driver's handles may be used from any thread that makes the context current, which every method does.
unsafe impl Send for Die {}
// SAFETY: as above; the driver's calls are thread-safe.
unsafe impl Sync for Die {}

impl Die {
    /// A context and a stream on the driver's device `ordinal`, without kernels yet.
    ///
    /// # Errors
    /// `Device` or `OutOfMemory`, naming die and call, here and below.
    pub(super) fn open(driver: Driver, ordinal: i32, index: u32) -> Result<Die> {
        let mut die = Die {
            driver,
            index,
            device: 0,
            context: NONE,
            stream: NONE,
            modules: Vec::new(),
            functions: Vec::new(),
            loads_ahead: false,
            joins: true,
            allocations: Vec::new(),
            events: Vec::new(),
            recorded: Mutex::default(),
        };
        // SAFETY: places for the results.
        unsafe {
            driver.cuDeviceGet(index, &mut die.device, ordinal)?;
            driver.cuCtxCreate_v2(index, &mut die.context, 0, die.device)?;
            // It is the thread's now; `enter` makes it that when it has work.
            driver.cuCtxPopCurrent_v2(index, &mut { NONE })?;
        }
        die.enter()?;
        // SAFETY: no conditions. Products want as many blocks as shared memory holds; where a card's memory is not
        // divided, this does nothing.
        unsafe { driver.cuCtxSetCacheConfig(index, PREFER_SHARED) }?;
        // SAFETY: a place for the handle.
        unsafe { driver.cuStreamCreate(index, &mut die.stream, STREAM_NON_BLOCKING) }?;
        Ok(die)
    }

    /// Loads the kernels' images for a compute capability, and finds every kernel of the table in them.
    pub(super) fn load_kernels(&mut self, (major, minor): (u32, u32), shelf: &mut Shelf) -> Result<()> {
        self.enter()?;
        let images = shelf.get(major, minor).map_err(|why| self.without(&why))?;
        for (_, image) in images {
            let mut module = NONE;
            // SAFETY: a whole cubin, or PTX that ends with a zero.
            unsafe { self.driver.cuModuleLoadData(self.index, &mut module, image.as_ptr().cast()) }?;
            self.modules.push(module);
        }
        let find = |kernel: &Entry| {
            let at = images.iter().position(|(file, _)| *file == kernel.file);
            let module = at.and_then(|at| self.modules.get(at));
            self.function(kernel, *module.ok_or_else(|| self.without(&format!("there is no image {}", kernel.file)))?)
        };
        self.functions = TABLE.iter().map(find).collect::<Result<_>>()?;
        // Kepler's instruction cache may hold no more than the smaller loop, and its few warps wait for memory.
        self.loads_ahead = major <= 3;
        Ok(())
    }

    fn function(&self, kernel: &Entry, module: Handle) -> Result<Handle> {
        let mut function = NONE;
        let name = CString::new(kernel.name).map_err(|_| self.without("a kernel's name holds a zero"))?;
        // SAFETY: a live module, a text that ends with a zero.
        unsafe { self.driver.cuModuleGetFunction(self.index, &mut function, module, name.as_ptr()) }
            .map_err(|e| e.at(&format!("{}, a kernel of the image {}", kernel.name, kernel.file)))?;
        Ok(function)
    }

    /// Why this die has no kernels.
    fn without(&self, why: &str) -> Error {
        let mut e = Error::new(Status::Device, format!("device {}: {why}", self.index));
        e.detail.device = Some(self.index);
        e
    }

    /// Keeps the calling thread's context, to be made current again.
    pub fn visit(&self) -> Result<Visit> {
        Visit::new(self.driver)
    }

    /// Makes this die's context the calling thread's.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: a live context.
        unsafe { self.driver.cuCtxSetCurrent(self.index, self.context) }
    }

    /// (free, total) bytes.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        self.enter()?;
        // SAFETY: places for both.
        unsafe { self.driver.cuMemGetInfo_v2(self.index, &mut free, &mut total) }?;
        Ok((free as u64, total as u64))
    }

    /// Memory until the die is dropped; a failure's message says what it is for (`what`).
    pub fn allocate(&mut self, what: &str, bytes: usize) -> Result<Ptr> {
        if bytes == 0 {
            return Ok(Ptr::NULL);
        }
        self.enter()?;
        let mut at = 0;
        // SAFETY: a place for the address.
        unsafe { self.driver.cuMemAlloc_v2(self.index, &mut at, bytes) }.map_err(|mut e| {
            e.message = format!("{what}, {bytes} bytes: {}", e.message);
            let free = self.memory().map_or(0, |m| m.0);
            e.amounts(bytes as u64, free)
        })?;
        self.allocations.push(at);
        Ok(Ptr(at))
    }

    /// Gives memory back early.
    pub fn give(&mut self, at: Ptr) -> Result<()> {
        self.enter()?;
        self.allocations.retain(|a| *a != at.0);
        // SAFETY: allocated by `allocate`, and not used any more.
        unsafe { self.driver.cuMemFree_v2(self.index, at.0) }
    }

    /// The largest amount that can be allocated at this moment, at most `most` bytes, to a MiB: found by trying.
    pub fn largest_allocation(&self, most: u64) -> Result<u64> {
        const STEP: u64 = 1 << 20;
        self.enter()?;
        let (mut low, mut high) = (0, most / STEP + 1);
        while high - low > 1 {
            let mid = low + (high - low) / 2;
            let mut at = 0;
            // SAFETY: a place for the address, which is given back at once.
            match unsafe { self.driver.cuMemAlloc_v2(self.index, &mut at, (mid * STEP) as usize) } {
                Ok(()) => {
                    // SAFETY: allocated above.
                    unsafe { self.driver.cuMemFree_v2(self.index, at) }?;
                    low = mid;
                }
                Err(e) if e.status == Status::OutOfMemory => high = mid,
                Err(e) => return Err(e),
            }
        }
        Ok(low * STEP)
    }

    pub fn event(&mut self) -> Result<Event> {
        self.new_event(EVENT_DISABLE_TIMING)
    }
    pub fn timed_event(&mut self) -> Result<Event> {
        self.new_event(0)
    }
    fn new_event(&mut self, flags: u32) -> Result<Event> {
        self.enter()?;
        let mut event = NONE;
        // SAFETY: a place for the handle.
        unsafe { self.driver.cuEventCreate(self.index, &mut event, flags) }?;
        self.events.push(event);
        Ok(Event(event))
    }

    /// Puts a mark behind all that was given to the stream so far.
    pub fn record(&self, event: Event) -> Result<()> {
        self.enter()?;
        // SAFETY: a live event and stream.
        unsafe { self.driver.cuEventRecord(self.index, event.0, self.stream) }
    }
    /// Lets the stream go on only when the mark, maybe of another die, is reached.
    pub fn wait_for(&self, event: Event) -> Result<()> {
        self.enter()?;
        // SAFETY: as above.
        unsafe { self.driver.cuStreamWaitEvent(self.index, self.stream, event.0, 0) }
    }
    /// Lets the calling thread go on only then.
    pub fn reach(&self, event: Event) -> Result<()> {
        self.enter()?;
        // SAFETY: as above.
        unsafe { self.driver.cuEventSynchronize(self.index, event.0) }
    }
    /// Seconds between two reached marks.
    pub fn seconds(&self, from: Event, to: Event) -> Result<f64> {
        let mut ms = 0f32;
        self.enter()?;
        // SAFETY: events with timing.
        unsafe { self.driver.cuEventElapsedTime(self.index, &mut ms, from.0, to.0) }?;
        Ok(f64::from(ms) / 1e3)
    }
    /// Waits for all that was given to the stream; also where a first try fails, since the host's memory may go next.
    pub fn finish(&self) -> Result<()> {
        // SAFETY: a live stream.
        let wait = || self.enter().and_then(|()| unsafe { self.driver.cuStreamSynchronize(self.index, self.stream) });
        wait().inspect_err(|_| drop(wait()))
    }
    /// True if the die can still be used after an error.
    pub fn is_alive(&self) -> bool {
        // SAFETY: no conditions.
        self.enter().is_ok() && unsafe { self.driver.cuCtxSynchronize(self.index) }.is_ok()
    }

    /// Copies to the die, in the stream's order.
    ///
    /// # Safety
    /// `from` holds `bytes` bytes, page-locked, until the stream has passed; `to` has room for them.
    pub unsafe fn copy_in(&self, to: Ptr, from: *const u8, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: as the caller says.
        unsafe { self.driver.cuMemcpyHtoDAsync_v2(self.index, to.0, from.cast(), bytes, self.stream) }
    }
    /// Copies to the host.
    ///
    /// # Safety
    /// As for `copy_in`.
    pub unsafe fn copy_out(&self, to: *mut u8, from: Ptr, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: as the caller says.
        unsafe { self.driver.cuMemcpyDtoHAsync_v2(self.index, to.cast(), from.0, bytes, self.stream) }
    }
    /// Copies from another die, in this one's stream.
    ///
    /// # Safety
    /// Both addresses hold `bytes` bytes.
    pub unsafe fn copy_from(&self, to: Ptr, other: &Die, from: Ptr, bytes: usize) -> Result<()> {
        self.enter()?;
        let (d, stream) = (&self.driver, self.stream);
        // SAFETY: as the caller says.
        unsafe { d.cuMemcpyPeerAsync(self.index, to.0, self.context, from.0, other.context, bytes, stream) }
    }
    /// # Safety
    /// `to` has `bytes` bytes.
    pub unsafe fn fill(&self, to: Ptr, value: u8, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: as the caller says.
        unsafe { self.driver.cuMemsetD8Async(self.index, to.0, value, bytes, self.stream) }
    }

    /// True if the driver promises that this die can use the other's memory.
    pub(super) fn can_reach(&self, other: &Die) -> Result<bool> {
        let mut can = 0;
        // SAFETY: a place for the answer.
        unsafe { self.driver.cuDeviceCanAccessPeer(self.index, &mut can, self.device, other.device) }?;
        Ok(can != 0)
    }

    /// Lets kernels and copies of this die use the other's memory.
    pub fn see(&self, other: &Die) -> Result<()> {
        self.enter()?;
        // SAFETY: a live context.
        match unsafe { self.driver.cuCtxEnablePeerAccess(self.index, other.context, 0) } {
            Err(e) if e.message.contains(PEER_ACCESS_ALREADY) => Ok(()),
            other => other,
        }
    }

    /// Starts a kernel.
    ///
    /// # Safety
    /// The addresses in `args` are what the kernel says.
    pub(super) unsafe fn launch<A: Args>(&self, kernel: Kernel<A>, grid: [u32; 3], args: &A) -> Result<()> {
        let entry = kernel.entry();
        let function = *self.functions.get(kernel.index).ok_or_else(|| self.without("its kernels are not loaded"))?;
        let ([x, y, z], threads, bytes) = (grid, entry.threads as u32, size_of::<A>());
        // The arguments go as one buffer with its size, so that the driver can hold the size against the kernel's.
        let mut buffer = launch_buffer((&raw const *args).cast(), &bytes);
        let (s, none, buffer) = (self.stream, std::ptr::null_mut(), buffer.as_mut_ptr());
        // SAFETY: the driver copies the arguments before it returns; it does not write them.
        unsafe { self.driver.cuLaunchKernel(self.index, function, x, y, z, threads, 1, 1, 0, s, none, buffer) }
            .map_err(|e| e.at(entry.name))
    }

    /// Records what `launches` gives to the stream instead of running it.
    pub(super) fn record_launches(&self, launches: impl FnOnce() -> Result<()>) -> Result<Recorded> {
        self.enter()?;
        // SAFETY: a live stream.
        unsafe { self.driver.cuStreamBeginCapture_v2(self.index, self.stream, CAPTURE_THREAD_LOCAL) }?;
        let outcome = launches();
        let mut graph = NONE;
        // SAFETY: ends the capture begun above, also after a failure.
        let ended = unsafe { self.driver.cuStreamEndCapture(self.index, self.stream, &mut graph) };
        let mut exec = NONE;
        let made = outcome.and(ended).and_then(|()| {
            // SAFETY: a whole graph.
            unsafe { self.driver.cuGraphInstantiateWithFlags(self.index, &mut exec, graph, 0) }
        });
        if graph != NONE {
            // SAFETY: the executable one does not need it any more.
            let destroyed = unsafe { self.driver.cuGraphDestroy(self.index, graph) };
            if made.is_ok() {
                self.recorded.lock().push(exec as usize);
                destroyed?;
            }
        }
        made.map(|()| Recorded(exec))
    }
    pub(super) fn replay(&self, recorded: &Recorded) -> Result<()> {
        self.enter()?;
        // SAFETY: a live graph; dies forget theirs only when they end.
        unsafe { self.driver.cuGraphLaunch(self.index, recorded.0, self.stream) }
    }
    /// Gives a recording back.
    pub(super) fn forget(&self, recorded: Recorded) -> Result<()> {
        self.enter()?;
        self.recorded.lock().retain(|r| *r != recorded.0 as usize);
        // SAFETY: not used any more.
        unsafe { self.driver.cuGraphExecDestroy(self.index, recorded.0) }
    }
}

impl Drop for Die {
    fn drop(&mut self) {
        if self.context == NONE {
            return;
        }
        // Nothing helps against a failure here; the context's end gives back what is left.
        let (d, i) = (self.driver, self.index);
        let mut visit = Visit::new(d);
        // This one is no context to come back to.
        if let Ok(v) = &mut visit
            && v.before == self.context
        {
            v.before = NONE;
        }
        // Recordings belong to no context.
        for exec in self.recorded.get_mut().drain(..) {
            // SAFETY: live, and given back once; nothing of it runs any more, since the machine settled.
            let _ = unsafe { d.cuGraphExecDestroy(i, exec as Handle) };
        }
        if self.enter().or_else(|_| self.enter()).is_err() {
            // In another context the calls below would be wrong.
            // SAFETY: live, and this die's own.
            let _ = unsafe { d.cuCtxDestroy_v2(i, self.context) };
            return;
        }
        // SAFETY: each is live, is this die's own, and is given back once.
        unsafe {
            let _ = d.cuCtxSynchronize(i);
            for event in self.events.drain(..) {
                let _ = d.cuEventDestroy_v2(i, event);
            }
            for at in self.allocations.drain(..) {
                let _ = d.cuMemFree_v2(i, at);
            }
            for module in self.modules.drain(..) {
                let _ = d.cuModuleUnload(i, module);
            }
            if self.stream != NONE {
                let _ = d.cuStreamDestroy_v2(i, self.stream);
            }
            let _ = d.cuCtxDestroy_v2(i, self.context);
        }
    }
}

/// Host memory that the driver knows as page-locked, so that dies copy from and to it without the CPU.
pub struct Pinned {
    driver: Driver,
    at: *mut u8,
}

// SAFETY: only the address is kept.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

const REGISTER_PORTABLE: u32 = 1;

impl Pinned {
    /// Locks memory for all dies; one of them must be there.
    ///
    /// # Safety
    /// The memory stays until this is dropped.
    pub unsafe fn new(die: &Die, at: *mut u8, bytes: usize) -> Result<Pinned> {
        die.enter()?;
        // SAFETY: as the caller says.
        // Host memory that is short is no die's fault.
        unsafe { die.driver.cuMemHostRegister_v2(NOWHERE, at.cast(), bytes, REGISTER_PORTABLE) }?;
        // A child of the host must not make the pages its own under the driver's eyes.
        // SAFETY: advice about the caller's memory.
        unsafe { libc::madvise(at.cast(), bytes, libc::MADV_DONTFORK) };
        Ok(Pinned { driver: die.driver, at })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: registered by `new`; a die's context is still there, as its owner drops this first.
        let _ = unsafe { self.driver.cuMemHostUnregister(NOWHERE, self.at.cast()) };
    }
}
