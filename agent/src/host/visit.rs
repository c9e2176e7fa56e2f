//! A visit to a guest: one thread for one operation. It enters, looks, waits for what is decided, takes the steps, and ends.
//!
//! Two visits would cost two threads, two entries and two sets of sockets: a quarter of what the kernel takes for the link.
//! And the thread of the next visit is made when this one is likely over, so that nobody waits for it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::host::kernel::Inner;
use crate::host::netlink::Requests;
use crate::host::netns::Netns;
use crate::host::take::Run;

/// From the begin of a visit to the making of the next one's thread: not while somebody waits for an answer.
const LATER: Duration = Duration::from_millis(3);

type Job = Box<dyn FnOnce(&mut Run) + Send>;

/// Where a visit goes.
pub(super) enum Whither {
    /// To a guest; a visit is not part of it, or the thread would keep itself.
    Guest(Netns),
    /// Nowhere, and what would be taken in a guest is meant for the host.
    Host,
    /// Nowhere: the guest is gone, so what would be taken there is nothing to do.
    Nowhere,
}

/// The thread; it ends with the last of these.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    jobs: mpsc::Sender<Job>,
    thread: Arc<JoinHandle<()>>,
}

impl Visit {
    /// Starts a thread in the host, which enters the guest if there is one. That it could not shows with the first job that
    /// needs the guest.
    ///
    /// # Errors
    /// What socket(2) says; EAGAIN when no thread can be made.
    pub(super) fn begin(kernel: &Arc<Inner>, whither: Whither) -> io::Result<Self> {
        // Before entering the guest: a socket belongs to where it was opened.
        let host = kernel.sockets.take()?;
        let (jobs, to_do) = mpsc::channel::<Job>();
        let Visitor { begin, thread } = kernel.visitors.take()?;
        begin.send(Begin { kernel: Arc::clone(kernel), host, whither, to_do }).map_err(|_| died())?;
        Ok(Self { jobs, thread: Arc::new(thread) })
    }

    /// Whether the thread is gone, which only a defect makes it.
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has the thread do something. It is done also when the caller goes away.
    ///
    /// # Errors
    /// When the thread died.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Run) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |run: &mut Run| {
            // Nobody is left to tell when the caller went away.
            let _unheard = answer.send(job(run));
        });
        self.jobs.send(job).map_err(|_| died())?;
        answered.await.map_err(|_| died())
    }
}

fn died() -> io::Error {
    io::Error::other("the thread in the network namespace died")
}

/// What a thread needs for its visit.
struct Begin {
    kernel: Arc<Inner>,
    host: Requests,
    whither: Whither,
    to_do: mpsc::Receiver<Job>,
}

/// A thread in the host that waits for its visit.
#[derive(Debug)]
struct Visitor {
    begin: mpsc::Sender<Begin>,
    thread: JoinHandle<()>,
}

impl Visitor {
    fn new() -> io::Result<Self> {
        let (begin, begun) = mpsc::channel::<Begin>();
        let thread = thread::Builder::new().name("visit".to_owned()).spawn(move || {
            // None comes when the agent stops.
            let Ok(Begin { kernel, host, whither, to_do }) = begun.recv() else { return };
            let mut run = Run::begin(kernel, host, whither);
            while let Ok(job) = to_do.recv() {
                job(&mut run);
            }
            run.finish();
        })?;
        Ok(Self { begin, thread })
    }
}

/// The thread of the next visit.
#[derive(Debug)]
pub(super) struct Visitors {
    next: Arc<Mutex<Option<Visitor>>>,
    wanted: tokio::sync::mpsc::Sender<()>,
}

impl Visitors {
    /// None yet. Needs a tokio runtime whose threads are all in the host: a thread is where the one is that made it.
    pub(super) fn new() -> Self {
        let (wanted, mut wants) = tokio::sync::mpsc::channel(1);
        let next = Arc::<Mutex<Option<Visitor>>>::default();
        let place = Arc::clone(&next);
        tokio::spawn(async move {
            while wants.recv().await.is_some() {
                tokio::time::sleep(LATER).await;
                if lock(&place).is_some() {
                    continue;
                }
                match Visitor::new() {
                    Ok(visitor) => *lock(&place) = Some(visitor),
                    // The next visit tries again, and says so if it cannot either.
                    Err(error) => tracing::debug!(%error, "no thread can be made for the next visit"),
                }
            }
        });
        Self { next, wanted }
    }

    /// The one that waits, or a new one.
    fn take(&self) -> io::Result<Visitor> {
        let waiting = lock(&self.next).take();
        // When it is full, the next one is about to be made.
        let _full = self.wanted.try_send(());
        waiting.map_or_else(Visitor::new, Ok)
    }
}

fn lock(next: &Mutex<Option<Visitor>>) -> MutexGuard<'_, Option<Visitor>> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}
