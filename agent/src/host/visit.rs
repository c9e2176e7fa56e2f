//! A visit to a guest: one thread for one operation. It enters, looks, waits for what is decided, takes the steps, and ends.
//!
//! Two visits would cost two threads, two entries and two sets of sockets: a quarter of what the kernel takes for the link.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::host::kernel::Inner;
use crate::host::netns::Netns;
use crate::host::take::Run;

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
        let kernel = Arc::clone(kernel);
        let (jobs, to_do) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("visit".to_owned()).spawn(move || {
            let mut run = Run::begin(kernel, host, whither);
            while let Ok(job) = to_do.recv() {
                job(&mut run);
            }
            run.finish();
        })?;
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
        let died = || io::Error::other("the thread in the network namespace died");
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |run: &mut Run| {
            // Nobody is left to tell when the caller went away.
            let _unheard = answer.send(job(run));
        });
        self.jobs.send(job).map_err(|_| died())?;
        answered.await.map_err(|_| died())
    }
}
