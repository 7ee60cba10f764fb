//! A context: the devices, threads and log that all models of one host share. Several contexts may live in one process;
//! they share nothing.

use std::sync::{Arc, OnceLock};

use crate::sync::Owned;

use crate::cpu::Pool;
use crate::cpu::isa::Isa;
use crate::cuda;
use crate::device::{Device, Inventory};
use crate::error::{Error, Result};

/// More threads than any machine of today has cores.
const MAX_THREADS: u32 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

/// Called from any thread that uses the context, one call at a time.
pub type LogFn = Box<dyn Fn(LogLevel, &str) + Send>;

/// The devices, threads and log of a host.
pub struct Context {
    /// The text that named the devices; empty if they were changed since.
    spec: String,
    inventory: Inventory,
    n_threads: u32,
    isa: Isa,
    /// The threads. The first load starts them, so a context that only plans has none.
    pool: OnceLock<Arc<Pool>>,
    log: Option<Owned<LogFn>>,
    level: LogLevel,
}

impl Context {
    /// Makes a context. `spec` names the devices ([`Inventory::from_spec`]); `n_threads` 0 means one per core; `log`
    /// gets messages up to `level`.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad spec, too many threads, or an unknown value of the variable `REKINDLE_CPU`.
    pub fn new(spec: &str, n_threads: u32, log: Option<LogFn>, level: LogLevel) -> Result<Arc<Context>> {
        if n_threads > MAX_THREADS {
            return Err(Error::invalid(format!("n_threads is {n_threads}, expected at most {MAX_THREADS}"))
                .subject("n_threads"));
        }
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS as usize) as u32);
        let context = Context {
            spec: spec.trim().to_owned(),
            inventory: Inventory::from_spec(spec, &cuda::Search)?,
            n_threads: if n_threads > 0 { n_threads } else { cores() },
            isa: Isa::detect()?,
            pool: OnceLock::new(),
            log: log.map(Owned::new),
            level,
        };
        context.log(LogLevel::Info, &format!("{} threads, {} kernels", context.n_threads, context.isa.name()));
        Ok(Arc::new(context))
    }

    /// A context like this one with other devices and without a log. It is used to plan for devices that are not there.
    pub(crate) fn with_inventory(&self, inventory: Inventory) -> Arc<Context> {
        let (n_threads, isa, level) = (self.n_threads, self.isa, self.level);
        Arc::new(Context { spec: String::new(), inventory, n_threads, isa, pool: OnceLock::new(), log: None, level })
    }

    /// The text that named the devices; empty if it is not known.
    pub fn spec(&self) -> &str {
        &self.spec
    }
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }
    pub fn devices(&self) -> &[Device] {
        &self.inventory.devices
    }
    pub fn n_threads(&self) -> u32 {
        self.n_threads
    }
    /// The instruction set of the CPU kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads that all models of this context compute with.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool.clone());
        }
        let pool = Arc::new(Pool::new(self.n_threads as usize)?);
        // Another load may have been first; then its pool is used and this one ends.
        Ok(self.pool.get_or_init(|| pool).clone())
    }

    pub fn log(&self, level: LogLevel, message: &str) {
        if let Some(log) = self.log.as_ref().filter(|_| level <= self.level) {
            // Messages that the callback itself causes are dropped, or it could go on for ever.
            log.unless_within(|log| log(level, message));
        }
    }
}
