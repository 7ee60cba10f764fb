//! The virtual rig from Rust: builds it, runs a test's body in a process that finds it as its driver, and asks it what happened.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

const INSIDE: &str = "REKINDLE_INSIDE_RIG";

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

/// Runs `body` in a process of its own that finds the rig, configured by `config`, where a driver would be. `name` is the test's.
pub fn with_rig(name: &str, config: &str, body: impl FnOnce(&Rig)) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body(&Rig::open());
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
        text.lines().filter(|l| !l.starts_with("test ") && !l.starts_with("running")).fold(String::new(), |s, l| s + l + "\n")
    );
    assert!(out.status.success(), "{name}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("1 passed"), "{name} did not run:\n{text}");
}

/// The library's functions for tests (tests/rig/control.cpp).
pub struct Rig(*mut c_void);

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
        Rig(at)
    }

    fn find(&self, symbol: &CStr) -> *mut c_void {
        // SAFETY: an open library.
        let at = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
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
        launches() -> u64 = c"rig_launches";
        reset() -> () = c"rig_reset";
        kernel_count() -> c_int = c"rig_kernel_count";
        kernel_name_text(i: c_int) -> *const c_char = c"rig_kernel_name";
    }

    /// Configures the rig anew.
    pub fn config(&self, text: &str) {
        let text = CString::new(text).unwrap();
        assert_eq!(self.config_text(text.as_ptr()), 0, "{text:?}");
    }
    pub fn call_name(&self, k: u64) -> String {
        Self::text(self.call_name_text(k))
    }
    pub fn report(&self) -> String {
        Self::text(self.report_text())
    }
    fn text(at: *const c_char) -> String {
        // SAFETY: the rig's texts live until the next such call.
        unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
    }

    /// Nothing was done that a card would punish.
    pub fn check(&self, what: &str) {
        assert_eq!(self.faults(), 0, "{what}: {}", self.report());
    }
    /// And nothing is left.
    pub fn check_empty(&self, what: &str) {
        self.check(what);
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
