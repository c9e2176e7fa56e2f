//! A visit to a guest: what is open of it from the first look to the last step of one operation.
//!
//! Two visits would cost two sets of sockets, a tenth of what the kernel takes for the link. Between its jobs nobody is inside.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::host::kernel::Inner;
use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::host::take::Run;
use crate::host::threads::Trip;

/// Where a visit goes.
#[derive(Debug)]
pub(super) enum Whither {
    /// To a guest; the visit is not part of it, or it would keep itself.
    Guest(Netns),
    /// Nowhere, and what would be taken in a guest is meant for the host.
    Host,
    /// Nowhere: the guest is gone, so what would be taken there is nothing to do.
    Nowhere,
}

/// What is open; it is closed with the last of these.
#[derive(Debug, Clone)]
pub(super) struct Visit(Arc<Open>);

#[derive(Debug)]
struct Open {
    kernel: Arc<Inner>,
    whither: Whither,
    /// From the first job on.
    run: Mutex<Option<Run>>,
}

impl Visit {
    /// Opens nothing yet. That a guest cannot be entered shows with the first job that needs it.
    pub(super) fn begin(kernel: &Arc<Inner>, whither: Whither) -> Self {
        Self(Arc::new(Open { kernel: Arc::clone(kernel), whither, run: Mutex::default() }))
    }

    /// Has something done there. It is done also when the caller goes away.
    ///
    /// # Errors
    /// What socket(2) says; EAGAIN when no thread can be made.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Run) -> T + Send + 'static,
    ) -> io::Result<T> {
        let open = Arc::clone(&self.0);
        self.0.kernel.threads.run(move || open.act(job)).await
    }
}

impl Open {
    fn act<T>(&self, job: impl FnOnce(&mut Run) -> T) -> io::Result<T> {
        // Taken out, so that a defect of a job leaves nothing half done to the next.
        let mut place = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = match place.take() {
            Some(run) => run,
            // Before entering the guest: a socket belongs to where it was opened.
            None => Run::begin(Arc::clone(&self.kernel), self.kernel.sockets.take()?, &self.whither),
        };
        let trip = match &self.whither {
            Whither::Guest(netns) => Trip::to(netns).map(Some).map_err(KernelError::from),
            Whither::Host | Whither::Nowhere => Ok(None),
        };
        match &trip {
            Ok(_) => run.arrive(&self.whither),
            Err(refused) => run.refuse(refused.clone()),
        }
        let done = job(&mut run);
        drop(trip);
        *place = Some(run);
        Ok(done)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let run = self.run.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        run.into_iter().for_each(Run::finish);
    }
}
