//! The virtual rig from Rust: builds it, runs a test's body in a process that finds it as its driver, and asks it what
//! happened.
//!
//! With `REKINDLE_GPU=1`, bodies that need no rig run on this machine's cards instead (tests/gpu.sh).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rekindle::context::{Context, LogLevel};

const INSIDE: &str = "REKINDLE_INSIDE_RIG";

fn on_cards() -> bool {
    std::env::var("REKINDLE_GPU").is_ok_and(|value| value == "1")
}

/// The folder with libcuda.so.1, built from tests/rig and kernels.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        make(&[]);
        out()
    })
}

fn out() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rig")
}

/// Runs targets of tests/rig/Makefile; what they print.
pub fn make(targets: &[&str]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    // Tests of one run share the folder.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    let made = Command::new("make")
        .args(["--no-print-directory", "-j2", "-C", &format!("{root}/tests/rig"), &format!("OUT={}", out().display())])
        .arg(format!("KERNELS={root}/kernels"))
        .args(targets)
        .output()
        .expect("make can be run");
    let text = String::from_utf8_lossy(&made.stdout) + String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "make {targets:?}:\n{text}");
    text.into_owned()
}

/// Runs `body` on dies: those of the rig, or this machine's cards, one test at a time.
pub fn with_dies(name: &str, config: &str, body: impl FnOnce(&Rig)) {
    if !on_cards() {
        return with_rig(name, config, body);
    }
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    body(&Rig::cards());
}

/// Runs `body` in a process of its own that finds the rig, configured by `config`, where a driver would be. `name` is
/// the test's.
pub fn with_rig(name: &str, config: &str, body: impl FnOnce(&Rig)) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body(&Rig::open());
    }
    if on_cards() {
        println!("SKIPPED: {name} needs the virtual rig");
        return;
    }
    in_child(name, &folder().display().to_string(), &[("REKINDLE_RIG", config)]);
}

/// Runs `body` in a process whose library path is `path` alone.
pub fn with_library_path(name: &str, path: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body();
    }
    in_child(name, path, &[]);
}

fn in_child(name: &str, library_path: &str, variables: &[(&str, &str)]) {
    let out = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1", "--include-ignored"])
        .env("LD_LIBRARY_PATH", library_path)
        .env(INSIDE, name)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    print!(
        "{}",
        text.lines()
            .filter(|l| !l.starts_with("test ") && !l.starts_with("running"))
            .fold(String::new(), |s, l| s + l + "\n")
    );
    assert!(out.status.success(), "{name}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("1 passed"), "{name} did not run:\n{text}");
}

/// One card as one of several dies, of whose memory the others leave it enough.
fn die(ordinal: usize) -> String {
    format!(r#"{{"kind":"cuda","ordinal":{ordinal},"free_bytes":{}}}"#, 512u64 << 20)
}

/// One card, two dies.
pub fn twice() -> String {
    format!("[{},{}]", die(0), die(0))
}

/// What a test runs on: the rig, with the library's functions for tests (tests/rig/control.cpp), or cards, of which
/// there is nothing to ask.
pub struct Rig {
    library: *mut c_void,
    n_cards: usize,
    contexts: RefCell<HashMap<String, Arc<Context>>>,
}

macro_rules! control {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $symbol:literal;)*) => {
        $($(#[$doc])* pub fn $name(&self, $($arg: $ty),*) -> $out {
            // SAFETY: the type is that of tests/rig/control.cpp.
            let f: extern "C" fn($($ty),*) -> $out = unsafe { std::mem::transmute(self.find($symbol)) };
            f($($arg),*)
        })*
    };
}

impl Rig {
    fn open() -> Rig {
        // SAFETY: the library that the library under test opens as well.
        let at = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!at.is_null(), "the rig cannot be opened");
        Rig { library: at, n_cards: 0, contexts: RefCell::default() }
    }

    fn cards() -> Rig {
        let found = rekindle::device::Finder::all(&rekindle::cuda::Search, 24, true)
            .unwrap_or_else(|e| panic!("REKINDLE_GPU is set, but: {e}"));
        Rig { library: std::ptr::null_mut(), n_cards: found.devices.len(), contexts: RefCell::default() }
    }

    pub fn is_virtual(&self) -> bool {
        !self.library.is_null()
    }

    /// Of a spec for the rig's dies: the same for these cards, used several times over where there are too few.
    pub fn spec(&self, spec: &str) -> String {
        let (dies, cpu) = spec.split_once(',').map_or((spec, ""), |(dies, _)| (dies, r#",{"kind":"cpu"}"#));
        let n: usize = dies.strip_prefix("cuda:").map_or(1, |n| n.parse().unwrap());
        match self.is_virtual() || n <= self.n_cards {
            true => spec.to_owned(),
            false => format!("[{}{cpu}]", (0..n).map(|i| die(i % self.n_cards)).collect::<Vec<_>>().join(",")),
        }
    }

    /// A context of the library on a spec's devices, which are looked for once.
    pub fn context(&self, spec: &str) -> Arc<Context> {
        let spec = self.spec(spec);
        let new = || Context::new(&spec, 2, None, LogLevel::Error).unwrap_or_else(|e| panic!("{spec}: {e}"));
        Arc::clone(self.contexts.borrow_mut().entry(spec.clone()).or_insert_with(new))
    }

    fn find(&self, symbol: &CStr) -> *mut c_void {
        // SAFETY: an open library.
        let at = unsafe { libc::dlsym(self.library, symbol.as_ptr()) };
        assert!(!at.is_null(), "the rig has no {symbol:?}");
        at
    }

    control! {
        config_text(text: *const c_char) -> c_int = c"rig_config";
        calls() -> u64 = c"rig_calls";
        call_name_text(k: u64) -> *const c_char = c"rig_call_name";
        fail_at(k: u64, code: c_int, delayed: c_int) -> () = c"rig_fail_at";
        failed() -> u64 = c"rig_failed";
        bytes(die: c_int) -> u64 = c"rig_bytes";
        live_objects() -> u64 = c"rig_live_objects";
        registered_bytes() -> u64 = c"rig_registered_bytes";
        host_bytes() -> u64 = c"rig_host_bytes";
        live_kinds_text() -> *const c_char = c"rig_live_kinds";
        report_text() -> *const c_char = c"rig_report";
        faults() -> c_int = c"rig_faults";
        kernel_count() -> c_int = c"rig_kernel_count";
        kernel_name_text(i: c_int) -> *const c_char = c"rig_kernel_name";
        kernel_args_text(name: *const c_char) -> *const c_char = c"rig_kernel_args";
        kernel_args_bytes(name: *const c_char) -> i64 = c"rig_kernel_args_size";
        kernel_threads(name: *const c_char) -> i64 = c"rig_kernel_threads";
        current(context: *mut *mut c_void) -> c_int = c"cuCtxGetCurrent";
        reset() -> () = c"rig_reset";
        launches() -> u64 = c"rig_launches";
        /// Microseconds of the host by the rig's clock.
        time() -> f64 = c"rig_time";
        /// Microseconds in which a die's multiprocessors had work, since the last reset.
        busy(die: c_int) -> f64 = c"rig_busy";
        profile_text() -> *const c_char = c"rig_profile";
    }

    /// Configures the rig anew.
    pub fn config(&self, text: &str) {
        self.contexts.borrow_mut().clear();
        let text = CString::new(text).unwrap();
        assert_eq!(self.config_text(text.as_ptr()), 0, "{text:?}");
    }
    pub fn call_name(&self, k: u64) -> String {
        Self::text(self.call_name_text(k))
    }
    /// Each kernel since the last reset: how often, and for how long by the clock.
    pub fn profile(&self) -> String {
        Self::text(self.profile_text())
    }
    pub fn report(&self) -> String {
        if !self.is_virtual() {
            return String::new();
        }
        Self::text(self.report_text())
    }
    /// The kernels of `kernels/*.cu`, in any order: name, name of the struct and its bytes, threads of a block.
    pub fn kernels(&self) -> Vec<(String, String, i64, i64)> {
        let kernel = |i| {
            let name = self.kernel_name_text(i);
            let (bytes, threads) = (self.kernel_args_bytes(name), self.kernel_threads(name));
            (Self::text(name), Self::text(self.kernel_args_text(name)), bytes, threads)
        };
        (0..self.kernel_count()).map(kernel).collect()
    }
    fn text(at: *const c_char) -> String {
        // SAFETY: the rig's texts live until the next such call.
        unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
    }

    /// Nothing was done that a card would punish.
    pub fn check(&self, what: &str) {
        assert!(!self.is_virtual() || self.faults() == 0, "{what}: {}", self.report());
    }
    /// And nothing is left.
    pub fn check_empty(&self, what: &str) {
        self.check(what);
        if !self.is_virtual() {
            return;
        }
        let mut context = std::ptr::null_mut();
        self.current(&mut context);
        assert!(context.is_null(), "{what}: a context of the library's own is this thread's");
        let left = [
            self.live_objects(),
            self.bytes(0),
            self.bytes(1),
            self.bytes(2),
            self.bytes(3),
            self.registered_bytes(),
            self.host_bytes(),
        ];
        assert_eq!(
            left,
            [0; 7],
            "{what}: left behind (objects, bytes of dies 0 to 3, page-locked): {}",
            Self::text(self.live_kinds_text())
        );
    }
}
