//! Deleting links. The kernel acknowledges a deletion after an RCU barrier, 16 to 24 ms, although the link is gone after
//! 0.4 ms; so few threads wait for it on behalf of everybody, and whoever asked goes on at the kernel's notice.
//!
//! What piles up meanwhile goes together: moved to a group of its own and deleted by the group, a link costs 0.6 ms. A
//! group stays small, because attaches wait while it is deleted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use crate::host::link::{self, LinkFacts};
use crate::host::mark;
use crate::host::netlink::{KernelError, Requests};
use crate::host::watch::Seen;

/// Threads that wait for the kernel.
const THREADS: usize = 4;
/// Links that are deleted together; each holds up an attach beside it by 0.6 ms.
const TOGETHER: usize = 16;

/// The threads that delete; they end with this value.
#[derive(Debug)]
pub(super) struct Deleter {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    batches: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

/// A link to be deleted, and who is told.
#[derive(Debug)]
struct Job {
    index: u32,
    /// The mark that it has, and keeps if it cannot be deleted.
    group: u32,
    teller: mpsc::Sender<Seen>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // A list of jobs is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next jobs, as many as go together; none at the end.
    fn take(&self) -> Vec<Job> {
        let is_idle = |state: &mut State| state.jobs.is_empty() && !state.is_closed;
        let waited = self.arrived.wait_while(self.state(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let count = state.jobs.len().min(TOGETHER);
        state.jobs.drain(..count).collect()
    }
}

impl Deleter {
    /// Starts the threads in the calling thread's network namespace. They stand ready, because a thread that is made by
    /// one in a guest's namespace begins there.
    ///
    /// # Errors
    /// What socket(2) says; EAGAIN when no thread can be made.
    pub(super) fn start() -> io::Result<Self> {
        let deleter = Self { queue: Arc::default() };
        for number in 0..THREADS {
            let queue = deleter.queue.clone();
            let mut requests = Requests::open()?;
            thread::Builder::new().name(format!("deleter-{number}")).spawn(move || {
                loop {
                    let jobs = queue.take();
                    if jobs.is_empty() {
                        return;
                    }
                    delete(&mut requests, &queue.batches, jobs);
                    if !requests.is_reusable()
                        && let Ok(new) = Requests::open()
                    {
                        requests = new;
                    }
                }
            })?;
        }
        Ok(deleter)
    }

    /// Deletes a link that was just seen to be ours. `teller` hears [`Seen::Gone`] or [`Seen::Refused`].
    pub(super) fn delete(&self, link: &LinkFacts, teller: mpsc::Sender<Seen>) {
        self.queue.state().jobs.push_back(Job { index: link.index, group: link.group, teller });
        self.queue.arrived.notify_one();
    }
}

impl Drop for Deleter {
    fn drop(&mut self) {
        self.queue.state().is_closed = true;
        self.queue.arrived.notify_all();
    }
}

fn delete(requests: &mut Requests, batches: &AtomicU32, jobs: Vec<Job>) {
    let alone = if jobs.len() > 1 { delete_together(requests, batches, jobs) } else { jobs };
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
fn delete_together(requests: &mut Requests, batches: &AtomicU32, jobs: Vec<Job>) -> Vec<Job> {
    // A number that no batch under way has: what an earlier agent left in one was deleted when we started.
    let group = mark::doomed(batches.fetch_add(1, Ordering::Relaxed));
    let mut batch: Vec<_> = jobs.iter().map(|job| link::set_group(job.index, group)).collect();
    batch.push(link::delete_group(group));
    let Ok(mut answers) = requests.batch(&batch) else { return jobs };
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
