//! The one way into every function: errors become a status and the thread's last error, panics become `INTERNAL`.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::rekindle_status;
use super::fork;
use super::last::{self, Last};
use crate::error::{Detail, Error, Result, Status};
use crate::memory::Call;
use crate::threads;

/// The most bytes that are kept of the place of a panic.
const LONGEST_PLACE: usize = 120;

thread_local! {
    /// The place of a panic, for its text: so many bytes of a buffer. It must not be something that is dropped.
    static PLACE: Cell<(usize, [u8; LONGEST_PLACE])> = const { Cell::new((0, [0; LONGEST_PLACE])) };
    /// Calls of the host's that this thread is in.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Runs the body of the entry point `name`.
pub(super) fn guard(name: &'static str, body: impl FnOnce() -> Result<()>) -> rekindle_status {
    fork::watch();
    catch_unwind(AssertUnwindSafe(|| {
        let Some(_call) = Call::begin() else { return Status::OutOfMemory as i32 };
        quiet();
        let outcome = {
            let _here = Here::new();
            catch_unwind(AssertUnwindSafe(|| {
                #[cfg(debug_assertions)]
                probe::fire(name);
                body()
            }))
        };
        match outcome {
            Ok(Ok(())) => Status::Ok as i32,
            Ok(Err(e)) => remember(e),
            Err(panic) => {
                let what = panic.downcast_ref::<&str>().copied();
                let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
                let text = format!("{name} panicked: {what}{}; this is a defect of the library", place());
                // To drop the thrown value could panic once more.
                std::mem::forget(panic);
                remember(Error::new(Status::Internal, text))
            }
        }
    }))
    .unwrap_or(Status::Internal as i32)
}

/// Keeps an error as the thread's last one.
fn remember(error: Error) -> rekindle_status {
    let status = error.status as i32;
    let text: Vec<u8> = error.message.into_bytes().into_iter().filter(|b| *b != 0).collect();
    let new = Last { message: CString::new(text).unwrap_or_default(), status, detail: error.detail };
    // Without a place for it the status still tells.
    last::with(|last| *last = new);
    status
}

/// The place of this thread's last panic.
fn place() -> String {
    let (n, buffer) = PLACE.replace((0, [0; LONGEST_PLACE]));
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

/// While it lives, panics of this thread are not written to the host's stderr.
struct Here;

impl Here {
    fn new() -> Here {
        INSIDE.set(INSIDE.get() + 1);
        Here
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

/// Sees to it, once, that panics of the library become an error's text and nothing else.
fn quiet() {
    static QUIET: AtomicBool = AtomicBool::new(false);
    if QUIET.load(Ordering::Relaxed) || QUIET.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let ours = INSIDE.try_with(|n| n.get() > 0).unwrap_or(false);
        if ours {
            let mut buffer = [0; LONGEST_PLACE];
            let mut rest = &mut buffer[..];
            if let Some(at) = info.location() {
                // A place that is too long is cut.
                let _ = write!(rest, " at {at}");
            }
            let n = LONGEST_PLACE - rest.len();
            PLACE.set((n, buffer));
        } else if !threads::is_ours() {
            before(info);
        }
    }));
}

/// As `guard`, for functions that return something else; a panic gives `otherwise`.
pub(super) fn guard_value<T>(name: &'static str, otherwise: T, body: impl FnOnce() -> T) -> T {
    let mut value = otherwise;
    let _ = guard(name, || {
        value = body();
        Ok(())
    });
    value
}

/// The text of the calling thread's last error; stays where it is until the next one.
pub(super) fn last_message() -> *const c_char {
    last::with(|last| last.message.as_ptr()).unwrap_or(c"".as_ptr())
}

pub(super) fn last_detail() -> (i32, Detail) {
    last::with(|last| (last.status, last.detail.clone())).unwrap_or_default()
}

/// Builds with debug assertions only, as tests are: provokes a panic inside an entry point.
#[cfg(debug_assertions)]
pub mod probe {
    use std::cell::RefCell;

    thread_local! {
        static ARMED: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// The calling thread's next call of the entry point `name` panics.
    pub fn arm(name: &str) {
        ARMED.with(|a| *a.borrow_mut() = Some(name.to_owned()));
    }

    pub(super) fn fire(name: &str) {
        let hit = ARMED.with(|a| a.borrow_mut().take_if(|armed| armed == name).is_some());
        assert!(!hit, "provoked in {name}");
    }
}
