//! An attachment's life: spec to plan, plan to steps, steps to record; and back.
//!
//! | stage | what | where |
//! |---|---|---|
//! | asked | `AttachmentSpec` | `pipewright_api::spec` |
//! | found | [`crate::kinds::Ground`], the guest's identity | `ground` |
//! | decided | [`crate::kinds::Decision`]: the plan | `crate::kinds` |
//! | intended | [`records::Record`] in state `Attaching`, written | [`records`] |
//! | done | steps taken, read back | [`crate::host`] |
//! | settled | record in state `Attached`, on the disk; the answer | [`records`] |
//! | undone | the plan's undo, on failure, on detach, after a crash | `undo` |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipewright_api::reason::Failure;
use tokio::sync::{Notify, Semaphore, watch};

use crate::declared::Policy;
use crate::engine::board::Board;
use crate::engine::drift::{Drifts, Keeping};
use crate::engine::locks::Locks;
use crate::engine::operations::{Operations, Work, on_a_task};
use crate::engine::records::{Loaded, Records};
use crate::engine::shelf::Shelf;
use crate::engine::timetable::Timetable;
use crate::guests::Guests;
use crate::host::Host;
use crate::host::kernel::Kernel;
use crate::metrics::Meters;
use crate::switches::ovs::Ovs;

mod adopt;
mod aside;
mod attach;
mod board;
mod converge;
mod damage;
mod decided;
mod declared;
mod detach;
mod doctor;
pub mod drift;
mod entered;
mod errands;
mod follow;
mod followed;
mod ground;
mod intact;
mod known;
mod leases;
mod list;
pub mod locks;
mod lost;
pub mod operations;
mod outcome;
mod parent;
mod readings;
pub mod records;
mod recover;
mod rollback;
mod shelf;
mod show;
mod switch;
mod tellers;
mod timetable;
mod tool;
mod traffic;
mod undo;
mod wait;
mod whole;

pub use shelf::is_meant;

/// Mutations that are worked on at once; more wait for their turn.
const AT_ONCE: u32 = 64;
/// Links that are taken out of linux bridges at once: the 8 that the kernel is given together (`host::deleter`), and some that
/// are next. More of them only keep attaches from the processor and from the kernel's lock.
const UNPLUGGED_AT_ONCE: usize = 10;

/// All that the agent does, whoever asks.
#[derive(Debug)]
pub struct Engine<H> {
    host: H,
    kernel: Kernel,
    ovs: Ovs,
    guests: Guests,
    records: Records,
    operations: Operations,
    shelf: Shelf,
    locks: Locks,
    turns: Arc<Semaphore>,
    /// Apart, because a detach mostly waits for the kernel, and attaches must not wait for that.
    exits: Arc<Semaphore>,
    /// Removals, whoever asks, of links that are in linux bridges.
    unplugging: Semaphore,
    /// Exchanges with DHCP servers.
    keeping: Semaphore,
    /// Announcements after the first.
    announcing: Semaphore,
    /// Looks where guests are.
    looking: Semaphore,
    timetable: Timetable,
    drift: Drifts,
    /// What labels and variables of containers may ask for.
    labels: Policy,
    /// Containers whose labels are to be read.
    board: Board,
    /// One document of a fleet is applied at a time.
    applying: tokio::sync::Mutex<()>,
    meters: Meters,
    places: Places,
    /// Told when an attachment without a host's end is made: its guest is listened to from then on.
    without_host_end: Notify,
    /// Told when an attachment is made that follows its guest: its runtime is listened to from then on.
    following: watch::Sender<()>,
    /// How long an attachment waits for a container that was deleted.
    recreate_within: Duration,
    /// True once the agent is about to stop: who only waits or watches is sent away.
    stopping: watch::Sender<bool>,
}

/// What an agent has on its host for itself.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Of the records.
    pub state_dir: PathBuf,
    /// Sockets that it listens on.
    pub sockets: Vec<PathBuf>,
}

/// What an engine is built from.
#[derive(Debug)]
pub struct Parts<H> {
    /// Takes the steps.
    pub host: H,
    /// Observes the kernel.
    pub kernel: Kernel,
    /// Observes Open vSwitch.
    pub ovs: Ovs,
    /// Finds guests.
    pub guests: Guests,
    /// Remembers.
    pub records: Records,
    /// Its own on the host.
    pub places: Places,
    /// How long an attachment waits for a container that was deleted.
    pub recreate_within: Duration,
    /// What becomes of what others change.
    pub keeping: Keeping,
    /// What labels and variables of containers may ask for.
    pub labels: Policy,
}

impl<H: Host> Engine<H> {
    /// Builds the engine and makes good what a crash left half done. Ready for requests when it returns.
    ///
    /// # Errors
    /// When the host cannot be observed at all.
    pub async fn start(parts: Parts<H>, loaded: Loaded) -> Result<Arc<Self>, Failure> {
        let Parts { host, kernel, ovs, guests, records, places, recreate_within, keeping, labels } = parts;
        let engine = Arc::new(Self {
            host,
            kernel,
            ovs,
            guests,
            operations: Operations::new(records.clone()),
            records,
            shelf: Shelf::new(loaded.generation),
            locks: Locks::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE as usize)),
            exits: Arc::new(Semaphore::new(AT_ONCE as usize)),
            unplugging: Semaphore::new(UNPLUGGED_AT_ONCE),
            keeping: Semaphore::new(leases::AT_ONCE),
            announcing: Semaphore::new(errands::AT_ONCE),
            looking: Semaphore::new(follow::AT_ONCE),
            timetable: Timetable::default(),
            drift: Drifts::new(keeping),
            labels,
            board: Board::default(),
            applying: tokio::sync::Mutex::default(),
            meters: Meters::default(),
            places,
            without_host_end: Notify::new(),
            following: watch::Sender::new(()),
            recreate_within,
            stopping: watch::Sender::new(false),
        });
        engine.recover(loaded).await?;
        engine.follow_losses();
        engine.follow_runtimes();
        engine.confirm_leases();
        engine.run_errands();
        engine.keep_drift();
        Ok(engine)
    }

    /// Has a thread carry work that mostly waits for the kernel, when it is its turn.
    fn carry(&self, turns: &Arc<Semaphore>) -> impl FnOnce(Work) + use<H> {
        let (kernel, turns) = (self.kernel.clone(), Arc::clone(turns));
        move |work| match Arc::clone(&turns).try_acquire_owned() {
            Ok(turn) => kernel.carry(holding(turn, work)),
            Err(_) => on_a_task(Box::pin(async move {
                // Never closed.
                let turn = turns.acquire_owned().await;
                kernel.carry(holding(turn, work));
            })),
        }
    }

    /// Takes no more mutations, and returns when those under way are answered.
    pub async fn drain(&self) {
        self.stopping.send_replace(true);
        self.operations.drain().await;
        // Links that are made again are nobody's request, and what was answered is yet to be told in the log.
        let _turns = self.turns.acquire_many(AT_ONCE).await;
        let _exits = self.exits.acquire_many(AT_ONCE).await;
    }

    /// Returns when the agent is about to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the engine is gone, which is as good.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Work that holds something until its end.
async fn holding<T>(held: T, work: Work) {
    work.await;
    drop(held);
}
