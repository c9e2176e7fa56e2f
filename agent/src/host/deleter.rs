//! Deleting links. The kernel acknowledges a deletion after an RCU barrier, 16 to 40 ms, although the link is gone after
//! 0.4 ms; so threads of ours wait for it on behalf of whoever asked, who goes on at the kernel's notice.
//!
//! One batch at a time is in the part that holds the kernel's lock for links. Batches and attaches take turns: an attach takes
//! that lock some ten times and would wait for a batch each time, so a batch waits for attaches that are under way, though not for
//! long, and an attach that comes while links wait lets a batch go first. What piles up goes together: moved to a group of its
//! own and deleted by the group, a link costs half of what it costs alone.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::host::link::{self, LinkFacts};
use crate::host::mark;
use crate::host::netlink::{KernelError, Requests};
use crate::host::watch::Seen;

/// Threads that stand ready; each thread that is made on demand ends when that many are idle.
const STANDING: usize = 4;
/// Threads that wait for the kernel at most. A barrier lasts as long as some thirty deletions.
const THREADS: usize = 32;
/// Links that are deleted together; each holds up an attach beside it by 0.5 to 1 ms.
const TOGETHER: usize = 8;
/// Links that may still be under way when the next batch goes to wait at the kernel's lock.
const NEARLY_DONE: usize = 2;
/// How long a batch waits for attaches that are under way, which may themselves wait for something else. Each batch does.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long attaches wait for a batch that others who change links hold up.
const TURN: Duration = Duration::from_millis(30);

/// The threads that delete; they end with this value.
#[derive(Debug)]
pub(super) struct Deleter {
    queue: Arc<Queue>,
}

/// Links that wait to be deleted.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// Something is being attached for as long as this lives.
#[derive(Debug)]
pub struct Attaching(Arc<Queue>);

impl Attaching {
    fn new(queue: &Arc<Queue>, state: &mut State) -> Self {
        state.attaches += 1;
        Self(queue.clone())
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.attaches -= 1;
        if state.attaches == 0 && !state.jobs.is_empty() {
            self.0.changed.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Links that are being deleted and not gone yet.
    under_way: HashSet<u32>,
    threads: usize,
    idle: usize,
    batches: u32,
    /// When the last batch was through.
    free_since: Option<Instant>,
    /// What is being attached now.
    attaches: usize,
    /// What is to be attached after the next batch.
    waiting: Vec<oneshot::Sender<Attaching>>,
    is_closed: bool,
}

/// A link to be deleted, and who is told.
#[derive(Debug)]
struct Job {
    index: u32,
    /// The mark that it has, and keeps if it cannot be deleted.
    group: u32,
    teller: mpsc::Sender<Seen>,
    asked: Instant,
}

/// What a thread that would delete waits for.
enum Pause {
    None,
    UntilTold,
    AtMost(Duration),
}

impl State {
    fn pause(&self) -> Pause {
        match self.jobs.front() {
            _ if self.is_closed => Pause::None,
            None => Pause::UntilTold,
            Some(_) if self.under_way.len() > NEARLY_DONE => Pause::UntilTold,
            // It is the turn of those that came during this batch, unless they wait no more.
            Some(_) if !self.under_way.is_empty() && self.waiting.iter().any(|turn| !turn.is_closed()) => {
                Pause::UntilTold
            }
            Some(_) if self.attaches == 0 => Pause::None,
            Some(oldest) => {
                let since = self.free_since.map_or(oldest.asked, |free| free.max(oldest.asked));
                match PATIENCE.saturating_sub(since.elapsed()) {
                    Duration::ZERO => Pause::None,
                    left => Pause::AtMost(left),
                }
            }
        }
    }
}

/// What one thread does next.
struct Batch {
    jobs: Vec<Job>,
    number: u32,
    /// Nobody is left for the next batch.
    is_last_idle: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the lists is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with each link that the kernel says is gone.
    pub(super) fn is_gone(self: &Arc<Self>, index: u32) {
        let mut state = self.state();
        if !state.under_way.remove(&index) {
            return;
        }
        let mut turns = Vec::new();
        if state.under_way.is_empty() {
            state.free_since = Some(Instant::now());
            let waiting = std::mem::take(&mut state.waiting);
            turns.extend(waiting.into_iter().map(|turn| (turn, Attaching::new(self, &mut state))));
        }
        if !state.jobs.is_empty() {
            self.changed.notify_one();
        }
        drop(state);
        for (turn, attaching) in turns {
            // Who no longer waits gives it back by that.
            let _unwanted = turn.send(attaching);
        }
    }

    /// Waits for jobs; `None` at the end.
    fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            state = match state.pause() {
                Pause::None => break,
                Pause::UntilTold => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Pause::AtMost(time) => {
                    self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let count = state.jobs.len().min(TOGETHER);
        let jobs: Vec<Job> = state.jobs.drain(..count).collect();
        if jobs.is_empty() {
            return None;
        }
        state.under_way.extend(jobs.iter().map(|job| job.index));
        state.batches = state.batches.wrapping_add(1);
        state.idle -= 1;
        let is_last_idle = state.idle == 0 && state.threads < THREADS;
        if is_last_idle {
            state.threads += 1;
            state.idle += 1;
        }
        Some(Batch { jobs, number: state.batches, is_last_idle })
    }

    /// Whether the thread that did a batch is to go on.
    fn is_wanted_again(&self) -> bool {
        let mut state = self.state();
        let is_wanted = state.idle < STANDING;
        if is_wanted {
            state.idle += 1;
        } else {
            state.threads -= 1;
        }
        is_wanted
    }
}

impl Deleter {
    /// Starts threads in the calling thread's network namespace. They stand ready and make others themselves, because a
    /// thread that is made by one in a guest's namespace begins there.
    ///
    /// # Errors
    /// What socket(2) says; EAGAIN when no thread can be made.
    pub(super) fn start(queue: Arc<Queue>) -> io::Result<Self> {
        let deleter = Self { queue };
        for _ in 0..STANDING {
            let mut state = deleter.queue.state();
            state.threads += 1;
            state.idle += 1;
            drop(state);
            spawn(deleter.queue.clone(), Requests::open()?)?;
        }
        Ok(deleter)
    }

    /// To be held while something is attached.
    pub(super) fn attaching(&self) -> Attaching {
        Attaching::new(&self.queue, &mut self.queue.state())
    }

    /// The same, after the batch whose turn it is.
    pub(super) async fn turn_to_attach(&self) -> Attaching {
        let turn = {
            let mut state = self.queue.state();
            // Where every thread waits for a barrier, the next batch is not near, and nothing holds the kernel's lock.
            if state.under_way.is_empty() && (state.jobs.is_empty() || state.idle == 0) {
                return Attaching::new(&self.queue, &mut state);
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push(sender);
            turn
        };
        match timeout(TURN, turn).await {
            Ok(Ok(attaching)) => attaching,
            Ok(Err(_)) | Err(_) => {
                let attaching = self.attaching();
                self.queue.changed.notify_one();
                attaching
            }
        }
    }

    /// Deletes a link that was just seen to be ours. `teller` hears [`Seen::Gone`] or [`Seen::Refused`].
    pub(super) fn delete(&self, link: &LinkFacts, teller: mpsc::Sender<Seen>) {
        self.queue.state().jobs.push_back(Job {
            index: link.index,
            group: link.group,
            teller,
            asked: Instant::now(),
        });
        self.queue.changed.notify_one();
    }
}

impl Drop for Deleter {
    fn drop(&mut self) {
        self.queue.state().is_closed = true;
        self.queue.changed.notify_all();
    }
}

fn spawn(queue: Arc<Queue>, requests: Requests) -> io::Result<()> {
    thread::Builder::new().name("deleter".to_owned()).spawn(move || work(&queue, requests))?;
    Ok(())
}

fn work(queue: &Arc<Queue>, mut requests: Requests) {
    while let Some(batch) = queue.take() {
        if batch.is_last_idle
            && let Err(error) = Requests::open().and_then(|requests| spawn(queue.clone(), requests))
        {
            tracing::warn!(%error, "no more threads to delete links");
            let mut state = queue.state();
            state.threads -= 1;
            state.idle -= 1;
        }
        let indices: Vec<u32> = batch.jobs.iter().map(|job| job.index).collect();
        delete(&mut requests, batch.number, batch.jobs);
        // Those that could not be deleted are never announced as gone.
        indices.into_iter().for_each(|index| queue.is_gone(index));
        if !requests.is_reusable() {
            match Requests::open() {
                Ok(new) => requests = new,
                Err(error) => tracing::error!(%error, "a thread that deletes links has no socket"),
            }
        }
        if !queue.is_wanted_again() {
            return;
        }
    }
}

fn delete(requests: &mut Requests, batch: u32, jobs: Vec<Job>) {
    let alone = if jobs.len() > 1 { delete_together(requests, batch, jobs) } else { jobs };
    for job in alone {
        let mut result = requests.request(&link::delete(job.index)).map(drop);
        if let Err(error) = &mut result
            && error.errno != libc::ENODEV
            && let Err(why) = requests.request(&link::set_group(job.index, job.group))
        {
            error.text = format!("{}; its link group could not be put back: {why}", error.text);
        }
        tell(&job, result);
    }
}

/// Deletes links as one group; gives back those that are to be tried one by one.
fn delete_together(requests: &mut Requests, batch: u32, jobs: Vec<Job>) -> Vec<Job> {
    // A number that no batch under way has: what an earlier agent left in one was deleted when we started.
    let group = mark::doomed(batch);
    let mut messages: Vec<_> = jobs.iter().map(|job| link::set_group(job.index, group)).collect();
    messages.push(link::delete_group(group));
    let Ok(mut answers) = requests.batch(&messages) else { return jobs };
    match answers.pop() {
        Some(Ok(_)) => {
            let each = jobs.into_iter().zip(answers);
            // A link that could not be moved was not in the group: it is gone, or says why by itself.
            let (done, alone): (Vec<_>, Vec<_>) = each.partition(|(_, moved)| moved.is_ok());
            done.iter().for_each(|(job, _)| tell(job, Ok(())));
            alone.into_iter().map(|(job, _)| job).collect()
        }
        // One link without a way to be deleted keeps its whole group.
        Some(Err(_)) | None => jobs,
    }
}

fn tell(job: &Job, result: Result<(), KernelError>) {
    let seen = match result {
        Ok(()) => Seen::Gone,
        Err(error) if error.errno == libc::ENODEV => Seen::Gone,
        Err(error) => Seen::Refused(error),
    };
    // Who heard of the kernel's notice first is no longer there.
    let _gone = job.teller.send(seen);
}

#[cfg(test)]
mod tests;
