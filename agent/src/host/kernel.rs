//! The kernel of this host: what takes steps, and what is asked about links.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{broadcast, watch};
use tracing::Span;

use crate::host::deleter::{Attaching, Deleter, Queue};
use crate::host::dhcp::Leases;
use crate::host::guest_watch::GuestWatch;
use crate::host::link;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::{self, Netns};
use crate::host::sole::Sole;
use crate::host::threads::Threads;
use crate::host::visit::{Visit, Whither};
use crate::host::watch::{LinkEvent, Watch};
use crate::host::way::Way;
use crate::host::{Refused, Within, mark, sysctl};
use crate::metrics::StepTimes;
use crate::step::{Far, Step, StepError};

/// Sockets that are kept open.
const SOCKETS: usize = 8;

/// The kernel as seen from the network namespace in which it was started.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// Cookies of the namespaces that are no guest's.
    hosts: HashSet<u64>,
    /// The machine's first namespace is one of them.
    is_first_known: bool,
    pub(super) sockets: Sockets,
    pub(super) watch: Watch,
    pub(super) deleter: Deleter,
    guest_watch: GuestWatch,
    pub(super) leases: Leases,
    pub(super) step_times: StepTimes,
    pub(super) threads: Threads,
    sole: Sole,
}

impl Inner {
    /// Whether the calling thread is in a namespace that is no guest's: our own, that of pid 1, or the machine's first.
    ///
    /// # Errors
    /// When it cannot be told.
    pub(super) fn is_host_here(&self, cookie: u64) -> Result<bool, KernelError> {
        // That look costs the more, the more namespaces there are.
        Ok(self.hosts.contains(&cookie) || (!self.is_first_known && sysctl::is_in_first_netns()?))
    }
}

/// Sockets of the host that are ready for use.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    idle: Mutex<Vec<Requests>>,
}

impl Sockets {
    /// One that is idle, or a new one; only on threads that have not entered a guest.
    ///
    /// # Errors
    /// What socket(2) says.
    pub(super) fn take(&self) -> io::Result<Requests> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(Requests::open, Ok)
    }

    pub(super) fn put_back(&self, socket: Requests) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.is_reusable() && idle.len() < SOCKETS {
            idle.push(socket);
        }
    }
}

impl Kernel {
    /// Starts in the calling thread's network namespace, which is the host's from now on. Links that an earlier agent
    /// was about to delete are deleted. Needs a tokio runtime whose threads are all in that namespace.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN.
    pub fn start() -> io::Result<Self> {
        let (own, mut is_first_known) = look_here()?;
        let mut hosts = HashSet::from([own]);
        match look_at_pid1() {
            Ok((cookie, is_first)) => {
                hosts.insert(cookie);
                is_first_known |= is_first;
            }
            // Where pid 1 cannot be looked at, its namespace is still known by its settings (`is_host_here`).
            Err(error) => tracing::debug!(%error, "the network namespace of pid 1 cannot be seen"),
        }

        let deletions = Arc::<Queue>::default();
        let inner = Inner {
            hosts,
            is_first_known,
            sockets: Sockets::default(),
            watch: Watch::start(deletions.clone())?,
            deleter: Deleter::start(deletions)?,
            guest_watch: GuestWatch::default(),
            leases: Leases::default(),
            step_times: StepTimes::default(),
            threads: Threads::new()?,
            sole: Sole::claim()?,
        };
        delete_doomed(&inner.sockets)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes steps whose place is the kernel, in order, and stops at the first that is refused. They go on to their end
    /// when the caller goes away. A caller's `guest` that is the host itself is refused.
    ///
    /// # Errors
    /// [`Refused`] names the step; see [`crate::host::Host::take`].
    pub async fn take<'a>(
        &self,
        within: impl Into<Within<'a>> + Send,
        steps: Vec<Step>,
    ) -> Result<(), Refused> {
        let Within { guest, peer } = within.into();
        self.take_on(self.visit(guest), peer, steps).await
    }

    /// Takes steps that would be taken in a guest in the host itself.
    ///
    /// # Errors
    /// As [`Kernel::take`].
    pub(super) async fn take_in_host(&self, steps: Vec<Step>) -> Result<(), Refused> {
        self.take_on(Visit::begin(&self.inner, Whither::Host), None, steps).await
    }

    async fn take_on(&self, visit: Visit, peer: Option<&Netns>, steps: Vec<Step>) -> Result<(), Refused> {
        let Some(first) = steps.first().map(ToString::to_string) else { return Ok(()) };
        let refused = |KernelError { errno, text }: KernelError| Refused {
            index: 0,
            error: StepError::Kernel { step: first.clone(), errno, text },
        };
        let died = |error: io::Error| refused(error.into());
        let way = Way::open(&steps).map_err(refused)?;
        let leads_here = |step: &Step| matches!(step, Step::CreatePair(pair) if pair.whither == Far::Host);
        let far = match steps.iter().any(leads_here) {
            true => Some(Netns::own().map_err(died)?),
            false => peer.cloned(),
        };
        // What is logged on the way tells of which attachment it is.
        let span = Span::current();
        let taken = visit.ask(move |run| span.in_scope(|| run.take(far, way, &steps)));
        taken.await.map_err(died)?
    }

    /// The visit to the guest that is under way, or a new one; without a guest, one to nowhere.
    pub(super) fn visit(&self, guest: Option<&Netns>) -> Visit {
        match guest {
            Some(guest) => guest.visit(|| Visit::begin(&self.inner, Whither::Guest(guest.without_visit()))),
            None => Visit::begin(&self.inner, Whither::Nowhere),
        }
    }

    /// Has a thread that may go into guests carry an operation to its end. To be called in a tokio runtime.
    pub fn carry(&self, operation: impl Future<Output = ()> + Send + 'static) {
        self.inner.threads.carry(operation);
    }

    /// Whether no other agent was in the host's network namespace when this one started. Two with records of their own do
    /// each other no harm as long as neither takes up what it knows nothing of.
    pub fn is_alone(&self) -> bool {
        self.inner.sole.is_ours()
    }

    /// How long steps take, wherever they are taken.
    pub fn step_times(&self) -> &StepTimes {
        &self.inner.step_times
    }

    /// Does something in a guest.
    ///
    /// # Errors
    /// EPERM when the namespace is the host's own; what `job` says.
    pub(super) async fn in_guest<T: Send + 'static>(
        &self,
        guest: &Netns,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let inner = self.inner.clone();
        let job = move || match inner.is_host_here(netns::own_cookie()?)? {
            true => Err(io::Error::from_raw_os_error(libc::EPERM)),
            false => job(),
        };
        self.inner.threads.run_in(guest, job).await
    }

    /// To be held while something is attached, from the first look on. It is there after the deletions whose turn it is; others
    /// begin when nobody holds it, or after some milliseconds. An attach takes the kernel's lock for links ten times, and would
    /// wait for a whole batch each time. Who waits for a deletion should not hold it: each such wait costs those milliseconds.
    pub async fn turn_to_attach(&self) -> Attaching {
        self.inner.deleter.turn_to_attach().await
    }

    /// Whether a namespace is the host's own, or that of its first process: no guest. [`Kernel::guest`] knows better: it
    /// looks from inside.
    pub fn is_host(&self, cookie: u64) -> bool {
        self.inner.hosts.contains(&cookie)
    }

    /// What tells a namespace from every other until the host reboots.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; ENOPROTOOPT on kernels before 5.14.
    pub async fn cookie(&self, guest: &Netns) -> io::Result<u64> {
        let visit = self.visit(Some(guest));
        Ok(visit.ask(|run| run.entered().map(|guest| guest.cookie)).await??)
    }

    /// Changes with every change of links, addresses, routes or neighbours in any guest (and the host): a reason to look
    /// again. Guests that hold no veth of ours are heard after [`Kernel::link_state`] looked at them once.
    ///
    /// # Errors
    /// What socket(2) and setsockopt(2) say.
    pub fn guest_changes(&self) -> io::Result<watch::Receiver<u64>> {
        self.inner.guest_watch.changes()
    }

    /// Every link of the host that goes from now on. A receiver that lags is told so, and lists the links anew.
    pub fn host_losses(&self) -> broadcast::Receiver<LinkEvent> {
        self.inner.watch.subscribe_to_losses()
    }

    /// Every change of a link of the host from now on. A receiver that lags is told so, and lists the links anew.
    pub fn host_events(&self) -> broadcast::Receiver<LinkEvent> {
        self.inner.watch.subscribe()
    }

    /// Asks the kernel something about the host, where it may block.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Requests) -> Result<T, KernelError> + Send + 'static,
    ) -> io::Result<T> {
        let inner = self.inner.clone();
        let asked = move || {
            let mut requests = inner.sockets.take()?;
            let result = question(&mut requests);
            inner.sockets.put_back(requests);
            Ok(result?)
        };
        self.inner.threads.run(asked).await
    }
}

/// The calling thread's namespace, and whether it is known to be the machine's first.
fn look_here() -> io::Result<(u64, bool)> {
    Ok((netns::own_cookie()?, sysctl::is_in_first_netns().unwrap_or(false)))
}

fn look_at_pid1() -> io::Result<(u64, bool)> {
    let pid1 = Netns::of_pid1()?;
    let entered = thread::Builder::new().spawn(move || pid1.enter().and_then(|()| look_here()))?;
    entered.join().unwrap_or_else(|_| Err(io::Error::other("the thread in pid 1's namespace died")))
}

/// Deletes what an earlier agent had chosen to delete when it died.
fn delete_doomed(sockets: &Sockets) -> io::Result<()> {
    let mut requests = sockets.take()?;
    let doomed = link::list(&mut requests, None)?.into_iter().filter(|link| mark::is_doomed(link.group));
    for link in doomed {
        match requests.request(&link::delete(link.index)) {
            Ok(_) => {}
            Err(error) if error.errno == libc::ENODEV => {}
            Err(error) => {
                tracing::error!(link = link.name, %error, "a link that was being deleted is still there");
            }
        }
    }
    sockets.put_back(requests);
    Ok(())
}
