//! Threads that go into network namespaces and come home.
//!
//! No thread of the runtime may ever be in a guest: it would take its next task there. So one of these goes, does what is to
//! be done and is home again before it does anything else. One that cannot come home would take a guest for the host, so it ends
//! the agent; the next start makes good what was half done, and no traffic minds.
//!
//! They carry whole operations, too, since most of those is waiting for the kernel: who is on one of these threads goes by itself,
//! and nobody has to be woken for it, which costs as much as a small request to the kernel.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::host::netns::Netns;

/// Threads that stand ready; each that comes when so many do ends.
const STANDING: usize = 6;
/// Jobs at once of those who are not on one of these threads, such as lists and looks for drift; more wait for their turn.
const AT_ONCE: usize = 128;

type Job = Box<dyn FnOnce() + Send>;

/// What a thread is told: a job, and how it is told the next.
struct Order {
    job: Job,
    again: SyncSender<Order>,
}

/// The threads of one host. Those that stand ready end with the last of these.
#[derive(Debug, Clone)]
pub(super) struct Threads {
    home: Arc<Netns>,
    standing: Arc<Standing>,
    /// Of those who are not on one of these threads.
    turns: Arc<Semaphore>,
}

/// Those that stand ready.
type Standing = Mutex<Vec<SyncSender<Order>>>;

thread_local! {
    /// Where the calling thread is at home, if it is one of these.
    static HOME: RefCell<Option<Arc<Netns>>> = const { RefCell::new(None) };
}

impl Threads {
    /// None yet. Their home is the calling thread's network namespace.
    ///
    /// # Errors
    /// When /proc is not there.
    pub(super) fn new() -> io::Result<Self> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Self { home: Arc::new(Netns::own()?), standing: Arc::default(), turns })
    }

    /// Has a thread do something at home.
    ///
    /// # Errors
    /// EAGAIN when no thread can be made; then it is not done.
    pub(super) fn begin(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        tell(&self.thread()?, Box::new(job));
        Ok(())
    }

    /// Does something at home where it may block. It is done also when the caller goes away.
    ///
    /// # Errors
    /// What `job` says; EAGAIN when no thread can be made.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let died =
            || io::Error::other("what was to be done there ended in a defect of the agent; see its log");
        // A step with a defect is a step that is refused: what was done before it is taken back.
        let job = move || catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(died()));
        if self.is_one() {
            return job();
        }
        // Never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        self.begin(move || {
            let done = job();
            drop(turn);
            // Nobody is left to tell when the caller went away.
            let _unheard = answer.send(done);
        })?;
        answered.await.unwrap_or_else(|_| Err(died()))
    }

    /// Does something inside a network namespace, likewise.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; what `job` says; EAGAIN when no thread can be made.
    pub(super) async fn run_in<T: Send + 'static>(
        &self,
        netns: &Netns,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let netns = netns.clone();
        self.run(move || {
            let trip = Trip::to(&netns)?;
            let result = job();
            drop(trip);
            result
        })
        .await
    }

    /// Has a thread carry a future to its end. Whatever blocks there blocks only that thread. Where no thread can be made, it is
    /// a task of the runtime, in which this is to be called.
    pub(super) fn carry(&self, future: impl Future<Output = ()> + Send + 'static) {
        match self.thread() {
            Ok(thread) => {
                let runtime = Handle::current();
                tell(&thread, Box::new(move || runtime.block_on(future)));
            }
            Err(error) => {
                tracing::debug!(%error, "no thread can be made for an operation");
                tokio::spawn(future);
            }
        }
    }

    /// One that stands ready, or a new one.
    fn thread(&self) -> io::Result<SyncSender<Order>> {
        if let Some(thread) = list(&self.standing).pop() {
            return Ok(thread);
        }
        let (thread, orders) = sync_channel(1);
        let (home, place) = (Arc::clone(&self.home), Arc::downgrade(&self.standing));
        thread::Builder::new().name("netns".to_owned()).spawn(move || stand(home, &place, &orders))?;
        Ok(thread)
    }

    /// Whether the calling thread is one of these.
    fn is_one(&self) -> bool {
        HOME.with_borrow(|home| home.as_ref().is_some_and(|home| Arc::ptr_eq(home, &self.home)))
    }
}

fn tell(thread: &SyncSender<Order>, job: Job) {
    let told = thread.send(Order { job, again: thread.clone() });
    // It waits for just this, whether it is new or stood ready.
    debug_assert!(told.is_ok(), "a thread that stood ready is gone");
}

fn list(standing: &Standing) -> MutexGuard<'_, Vec<SyncSender<Order>>> {
    // Each change of the list is one statement.
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The life of a thread.
fn stand(home: Arc<Netns>, place: &Weak<Standing>, orders: &Receiver<Order>) {
    // Who made it may have been in a guest, and a thread begins where that one is.
    come_home(&home);
    HOME.set(Some(home));
    while let Ok(Order { job, again }) = orders.recv() {
        job();
        let Some(place) = place.upgrade() else { return };
        let mut standing = list(&place);
        if standing.len() >= STANDING {
            return;
        }
        standing.push(again);
    }
}

/// The calling thread is in another network namespace for as long as this lives.
pub(super) struct Trip(Arc<Netns>);

impl Trip {
    /// Goes there, if the calling thread is one of those that may.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN.
    pub(super) fn to(netns: &Netns) -> io::Result<Self> {
        let stays = || io::Error::other("this thread stays in the host's network namespace");
        let home = HOME.with_borrow(Clone::clone).ok_or_else(stays)?;
        netns.enter()?;
        Ok(Self(home))
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        come_home(&self.0);
    }
}

fn come_home(home: &Netns) {
    if let Err(error) = home.enter() {
        tracing::error!(%error, "a thread cannot come back to the host's network namespace; the agent ends");
        std::process::abort();
    }
}
