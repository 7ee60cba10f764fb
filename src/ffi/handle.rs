//! Handles: numbers that look like pointers to the host and that are looked up in one table here. No number is used
//! twice. So a null, stale, foreign or invented handle is found out and refused, and one thread may destroy an object
//! that another is using at that moment.

use std::cell::Cell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::{Mutex, RwLock, RwLockWriteGuard};

use crate::chat::Templates;
use crate::context::Context;
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;
use crate::grammar::Grammar;
use crate::memory;
use crate::plan::Plan;
use crate::reply::{Event, Reply};
use crate::sample::{Logprobs, Sampler};
use crate::session::{Generation, Model};
use crate::vocab::{Stream, Vocab};

/// A vocabulary and the chat templates of its file.
pub(super) struct TextVocab {
    pub vocab: Arc<Vocab>,
    pub chat: Templates,
}

impl TextVocab {
    pub fn new(vocab: Arc<Vocab>, file: &Gguf) -> Result<Arc<TextVocab>> {
        let chat = Templates::from_gguf(file, &vocab).map_err(|e| e.at(file.path()))?;
        Ok(Arc::new(TextVocab { vocab, chat }))
    }
}

/// A stream and the vocabulary whose tokens it reads.
pub(super) struct TextStream {
    pub vocab: Arc<Vocab>,
    pub stream: Mutex<Stream>,
}

/// A generation, and the text and probabilities of the event that the host took last.
pub(super) struct HostGeneration {
    pub generation: Arc<Generation>,
    pub taken: Mutex<(String, Option<Logprobs>)>,
}

/// A reply, and the event that the host took last.
pub(super) struct HostReply {
    pub reply: Reply,
    pub taken: Option<Event>,
}

/// A kind of object that handles stand for.
pub(super) trait Object: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    fn wrap(this: Arc<Self>) -> Entry;
    fn unwrap(entry: &Entry) -> Option<&Arc<Self>>;
}

macro_rules! objects {
    ($($kind:ident($ty:ty) = $name:literal;)*) => {
        pub(super) enum Entry { $($kind(Arc<$ty>),)* }

        impl Entry {
            fn name(&self) -> &'static str {
                match self { $(Entry::$kind(_) => $name,)* }
            }
        }

        $(impl Object for $ty {
            const NAME: &'static str = $name;
            fn wrap(this: Arc<Self>) -> Entry {
                Entry::$kind(this)
            }
            fn unwrap(entry: &Entry) -> Option<&Arc<Self>> {
                match entry {
                    Entry::$kind(o) => Some(o),
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        })*
    };
}

objects! {
    Context(Context) = "context";
    File(Gguf) = "file";
    Plan(Plan) = "plan";
    Model(Model) = "model";
    Vocab(TextVocab) = "vocab";
    Stream(TextStream) = "stream";
    Sampler(Mutex<Sampler>) = "sampler";
    Generation(HostGeneration) = "generation";
    Grammar(Mutex<Grammar>) = "grammar";
    Reply(Mutex<HostReply>) = "reply";
}

static TABLE: RwLock<Option<HashMap<usize, Entry>>> = RwLock::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);
/// Handles below this one belong to the process that this one was forked from.
static OLDEST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Held by a thread that forks.
    static HELD: Cell<ManuallyDrop<Option<Held>>> = const { Cell::new(ManuallyDrop::new(None)) };
}

type Held = RwLockWriteGuard<'static, Option<HashMap<usize, Entry>>>;

/// Locks the table for this thread, until `unlock`.
pub(super) fn lock() {
    let guard = TABLE.write();
    HELD.set(ManuallyDrop::new(Some(guard)));
}

pub(super) fn unlock() {
    drop(ManuallyDrop::into_inner(HELD.take()));
}

/// From now on all handles that there are belong to another process.
pub(super) fn forget_older() {
    OLDEST.store(number(NEXT.load(Ordering::Relaxed)).unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// The first handle is no small integer, and the steps keep all of them aligned like addresses. No program has memory
/// at such an address.
const STEP: u64 = 16;
const FIRST: u64 = 0x1000;

/// The handle with this number.
fn number(n: u64) -> Option<usize> {
    n.checked_mul(STEP).and_then(|n| n.checked_add(FIRST)).and_then(|n| usize::try_from(n).ok())
}

/// Puts an object into the table.
///
/// # Errors
/// `OutOfMemory` also if the system had no memory for a part of the object.
pub(super) fn create<T: Object, H>(object: Arc<T>) -> Result<*mut H> {
    memory::check()?;
    let handle = number(NEXT.fetch_add(1, Ordering::Relaxed));
    let handle = handle.ok_or_else(|| Error::new(Status::OutOfMemory, "no more handles"))?;
    let mut table = TABLE.write();
    let table = table.get_or_insert_default();
    table.try_reserve(1).map_err(|_| Error::out_of_memory("the handle table", size_of::<Entry>() as u64))?;
    table.insert(handle, T::wrap(object));
    Ok(std::ptr::without_provenance_mut(handle))
}

/// True for a handle of the process that this one was forked from.
fn is_older(handle: usize) -> bool {
    handle < OLDEST.load(Ordering::Relaxed)
}

fn bad<T: Object>(handle: usize, found: Option<&Entry>) -> Error {
    let name = T::NAME;
    let text = match (handle, found) {
        (0, _) => format!("the {name} handle is NULL"),
        (_, Some(_)) if is_older(handle) => {
            format!("the {name} handle was made before fork(); a child process makes its own objects")
        }
        (_, Some(other)) => format!("the {name} handle is that of a {}", other.name()),
        (_, None) => format!("the {name} handle is not valid; it was destroyed or never created"),
    };
    Error::new(Status::BadHandle, text).subject(name)
}

/// The object of a handle; it lives on while the caller holds it.
pub(super) fn get<T: Object, H>(handle: *const H) -> Result<Arc<T>> {
    let number = handle.addr();
    let table = TABLE.read();
    let found = table.as_ref().and_then(|t| t.get(&number));
    let object = found.filter(|_| !is_older(number)).and_then(T::unwrap);
    object.cloned().ok_or_else(|| bad::<T>(number, found))
}

/// Takes a handle out of the table; NULL is fine.
pub(super) fn destroy<T: Object, H>(handle: *mut H) -> Result<()> {
    let number = handle.addr();
    if number == 0 {
        return Ok(());
    }
    let mut table = TABLE.write();
    let found = table.as_ref().and_then(|t| t.get(&number));
    if found.filter(|_| !is_older(number)).and_then(T::unwrap).is_none() {
        return Err(bad::<T>(number, found));
    }
    let gone = table.as_mut().and_then(|t| t.remove(&number));
    // The object ends here. That may take long, and it may call the host, so the table must not be locked any more.
    drop(table);
    drop(gone);
    Ok(())
}

/// The right to use an object that one call at a time may use.
pub(super) fn only_user<'a, T>(mutex: &'a Mutex<T>, name: &str) -> Result<crate::sync::MutexGuard<'a, T>> {
    mutex
        .try_lock()
        .ok_or_else(|| Error::new(Status::Busy, format!("the {name} is in use by another call")).subject(name))
}
