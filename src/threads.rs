//! Threads, and a queue from some of them to one.
//!
//! They are the system's own. The standard library's threads do the same, but ask for a few bytes in a way that ends
//! the process if there are none.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::sync::{Condvar, Mutex};

/// Bytes of a thread's stack, where nobody says more.
const STACK: usize = 2 << 20;

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// True in threads of this library.
pub fn is_ours() -> bool {
    OURS.get()
}

type Work<'a> = Box<dyn FnOnce() + Send + 'a>;

/// A thread that lives until its work is done. Dropping it waits for that.
pub struct Thread(Option<libc::pthread_t>);

impl Thread {
    /// Starts a thread; the system shows the first 15 bytes of its name.
    ///
    /// # Errors
    /// `OutOfMemory` if the system gives no more threads.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
        native(name, STACK, Box::new(work)).map(|id| Thread(Some(id)))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(id) = self.0.take() {
            join(id);
        }
    }
}

fn join(id: libc::pthread_t) {
    // SAFETY: started by `native`, and joined once.
    unsafe { libc::pthread_join(id, std::ptr::null_mut()) };
}

fn native(name: &str, stack: usize, work: Work<'static>) -> Result<libc::pthread_t> {
    let name = CString::new(&name.as_bytes()[..name.len().min(15)]).unwrap_or_default();
    let work: Box<Work<'static>> = Box::new(Box::new(move || {
        // SAFETY: this thread, and a text of at most 15 bytes.
        unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
        work();
    }));
    let work = Box::into_raw(work);
    let mut id = 0;
    // SAFETY: plain data that the next call fills.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the attributes are initialised before they are used; `main` takes the work over.
    let code = unsafe {
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, stack);
        let code = libc::pthread_create(&mut id, &attributes, main, work.cast());
        libc::pthread_attr_destroy(&mut attributes);
        code
    };
    if code != 0 {
        // SAFETY: no thread has taken it.
        drop(unsafe { Box::from_raw(work) });
        let e = std::io::Error::from_raw_os_error(code);
        return Err(Error::new(Status::OutOfMemory, format!("a thread could not be started: {e}")));
    }
    Ok(id)
}

extern "C" fn main(work: *mut c_void) -> *mut c_void {
    if !memory_is_there() {
        // SAFETY: as below. The work is dropped, and so it leaves nothing.
        drop(unsafe { Box::from_raw(work.cast::<Work<'static>>()) });
        return std::ptr::null_mut();
    }
    OURS.set(true);
    // SAFETY: `native` gave it to this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work<'static>>()) };
    // A panic is in what the thread leaves.
    let _ = catch_unwind(AssertUnwindSafe(work));
    std::ptr::null_mut()
}

/// glibc ends the process if it has no memory for the destructors of a thread's variables. So a thread looks for some
/// first; what it frees here serves its next small requests.
fn memory_is_there() -> bool {
    // SAFETY: a block that is asked for and given back.
    unsafe {
        // Hidden from the compiler, which would leave both calls out.
        let block = std::hint::black_box(libc::malloc(4096));
        libc::free(block);
        !block.is_null()
    }
}

/// Threads that end before the call of [`scope`] does, so that they may borrow from its surroundings.
pub struct Scope<'scope, 'env: 'scope> {
    threads: Mutex<Vec<libc::pthread_t>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The place for what a thread leaves: nothing yet, its result, or its panic.
type Left<T> = Arc<Mutex<Option<std::result::Result<T, Box<dyn Any + Send>>>>>;

/// A thread of a scope.
pub struct Running<T> {
    id: libc::pthread_t,
    left: Left<T>,
}

/// Runs `f`, which may start threads, and waits for all of them.
pub fn scope<'env, R>(f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
    let scope = Scope { threads: Mutex::new(Vec::new()), scope: PhantomData, env: PhantomData };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // A thread may start others.
    let next = || scope.threads.lock().pop();
    while let Some(id) = next() {
        join(id);
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread with a stack of so many bytes; 0 means the usual.
    ///
    /// # Errors
    /// `OutOfMemory` if the system gives no more threads.
    pub fn start<T: Send + 'scope>(
        &'scope self,
        name: &str,
        stack: usize,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> Result<Running<T>> {
        let left: Left<T> = Arc::default();
        let here = left.clone();
        let work: Work<'scope> = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            *here.lock() = Some(outcome);
        });
        // SAFETY: only the lifetime changes; `scope` waits for the thread before what it borrows may go.
        let work = unsafe { std::mem::transmute::<Work<'scope>, Work<'static>>(work) };
        let mut threads = self.threads.lock();
        threads.try_reserve(1).map_err(|_| Error::out_of_memory("the list of threads", 8))?;
        let id = native(name, if stack > 0 { stack } else { STACK }, work)?;
        threads.push(id);
        Ok(Running { id, left })
    }

    /// Waits for a thread, and gives what it has left; its panic goes on here.
    ///
    /// # Errors
    /// `OutOfMemory` if the thread found no memory to begin with.
    pub fn join<T>(&self, thread: Running<T>) -> Result<T> {
        let listed = {
            let mut threads = self.threads.lock();
            let at = threads.iter().position(|id| *id == thread.id);
            at.map(|at| threads.swap_remove(at))
        };
        listed.into_iter().for_each(join);
        let left = thread.left.lock().take();
        match left {
            Some(outcome) => Ok(outcome.unwrap_or_else(|panic| resume_unwind(panic))),
            None => Err(Error::new(Status::OutOfMemory, "a thread found no memory to begin with")),
        }
    }
}

/// A queue of what threads tell one that listens.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    told: VecDeque<T>,
    tellers: usize,
    closed: bool,
}

/// The right to tell. The listener is done when the last one is gone.
pub struct Teller<'a, T>(&'a Queue<T>);

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let state = State { told: VecDeque::new(), tellers: 0, closed: false };
        Queue { state: Mutex::new(state), changed: Condvar::default() }
    }
}

impl<T> Queue<T> {
    pub fn teller(&self) -> Teller<'_, T> {
        self.state.lock().tellers += 1;
        Teller(self)
    }

    /// The next that was told; `None` once nobody will tell any more.
    pub fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(one) = state.told.pop_front() {
                return Some(one);
            }
            if state.tellers == 0 {
                return None;
            }
            state = self.changed.wait(state);
        }
    }

    /// Nobody listens any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.told.clear();
    }
}

impl<T> Teller<'_, T> {
    /// False if nobody listens.
    pub fn tell(&self, one: T) -> bool {
        let mut state = self.0.state.lock();
        if !state.closed {
            state.told.push_back(one);
            self.0.changed.notify_all();
        }
        !state.closed
    }
}

impl<T> Drop for Teller<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().tellers -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_scope_borrow_and_are_waited_for() {
        let numbers: Vec<u32> = (0..100).collect();
        let sum = scope(|s| {
            let halves: Vec<_> =
                numbers.chunks(50).map(|half| s.start("half", 0, || half.iter().sum::<u32>())).collect();
            assert!(!is_ours());
            halves.into_iter().map(|thread| s.join(thread.unwrap()).unwrap()).sum::<u32>()
        });
        assert_eq!(sum, 4950);
        let mut done = false;
        scope(|s| drop(s.start("late", 1 << 20, || done = is_ours()).unwrap()));
        assert!(done);
    }

    #[test]
    fn a_panic_goes_on_where_the_thread_is_joined() {
        let caught = catch_unwind(|| {
            scope(|s| {
                let thread = s.start("rekindle-bad", 0, || panic!("provoked")).unwrap();
                s.join::<()>(thread).is_ok()
            })
        });
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"provoked"));
    }

    #[test]
    fn a_queue_ends_with_its_tellers() {
        let queue = Queue::default();
        let sum = scope(|s| {
            for i in 0..4 {
                let teller = queue.teller();
                s.start("teller", 0, move || (0..10).for_each(|n| assert!(teller.tell(10 * i + n)))).unwrap();
            }
            std::iter::from_fn(|| queue.next()).sum::<i32>()
        });
        assert_eq!(sum, 780);
        queue.close();
        assert!(!queue.teller().tell(1));
    }
}
