//! The one way into every function: errors become a status and the thread's last error, panics become `INTERNAL`.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::rekindle_status;
use crate::error::{Detail, Error, Result, Status};

#[derive(Default)]
pub(super) struct Last {
    pub message: CString,
    pub status: i32,
    pub detail: Detail,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// Runs the body of the entry point `name`.
pub(super) fn guard(name: &'static str, body: impl FnOnce() -> Result<()>) -> rekindle_status {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(debug_assertions)]
        probe::fire(name);
        body()
    }));
    let error = match outcome {
        Ok(Ok(())) => return Status::Ok as i32,
        Ok(Err(e)) => e,
        Err(panic) => {
            let what = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            let what = what.unwrap_or_default();
            // To drop the thrown value could panic once more.
            std::mem::forget(panic);
            Error::new(Status::Internal, format!("{name} panicked: {what}; this is a defect of the library"))
        }
    };
    let status = error.status as i32;
    // At the very end of a thread its last error is gone already; the status still tells.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            let text: Vec<u8> = error.message.into_bytes().into_iter().filter(|b| *b != 0).collect();
            *last = Last { message: CString::new(text).unwrap_or_default(), status, detail: error.detail };
        }
    });
    status
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
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |l| l.message.as_ptr())).unwrap_or(c"".as_ptr())
}

pub(super) fn last_detail() -> (i32, Detail) {
    LAST.try_with(|last| last.try_borrow().map(|l| (l.status, l.detail.clone())).unwrap_or_default())
        .unwrap_or_default()
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
