//! What is to be done when, long after the request that it is for was answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::dhcp::Moment;
use crate::dhcp::given::Family;

/// The rest after the first time that no server answered, and the longest.
const FIRST_REST: Duration = Duration::from_secs(8);
const LONGEST_REST: Duration = Duration::from_secs(64);
/// The first of all tasks of a moment.
const FIRST: Task = (Uuid::nil(), Errand::Lease(Family::V4));

/// What is to be done for an attachment, and which attachment that is.
pub(super) type Task = (Uuid, Errand);

/// What is to be done for an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Errand {
    /// A lease of it is looked at.
    Lease(Family),
    /// Its neighbours are told once more where it is; how often they were told before.
    Announce(u8),
    /// Its guest may have started, stopped or gone.
    Follow,
    /// Labels of a container are to be read; the id is the container's on the board.
    Declared,
}

/// Tasks with the moments at which they are due.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    due: BTreeSet<(Moment, Task)>,
    /// How often in a row nothing came of it.
    failures: HashMap<Task, u32>,
}

impl Timetable {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Each change is one insertion or removal.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task down for a moment; `None`: for none.
    pub(super) fn at(&self, task: Task, moment: Option<Moment>) {
        let mut entries = self.entries();
        entries.failures.remove(&task);
        entries.due.retain(|&(_, other)| other != task);
        entries.due.extend(moment.map(|moment| (moment, task)));
        drop(entries);
        self.changed.notify_one();
    }

    /// Puts a task down for later because nothing came of it: at once after the first time if `is_urgent`, then after 8, 16,
    /// 32 and 64 s.
    pub(super) fn later(&self, task: Task, now: Moment, is_urgent: bool) {
        let mut entries = self.entries();
        let failures = entries.failures.entry(task).or_default();
        let rest = match *failures {
            0 if is_urgent => Duration::ZERO,
            before => FIRST_REST.saturating_mul(1 << before.min(8)).min(LONGEST_REST),
        };
        *failures = failures.saturating_add(1);
        entries.due.retain(|&(_, other)| other != task);
        entries.due.insert((now + rest, task));
        drop(entries);
        self.changed.notify_one();
    }

    /// Takes out what is due by now.
    pub(super) fn take_due(&self, now: Moment) -> Vec<Task> {
        let mut entries = self.entries();
        let later = entries.due.split_off(&(now + Duration::from_nanos(1), FIRST));
        std::mem::replace(&mut entries.due, later).into_iter().map(|(_, task)| task).collect()
    }

    /// Forgets all of an attachment that is gone.
    pub(super) fn forget(&self, id: Uuid) {
        let mut entries = self.entries();
        entries.failures.retain(|&(other, _), _| other != id);
        entries.due.retain(|&(_, (other, _))| other != id);
    }

    /// The next moment that there is anything for.
    pub(super) fn next(&self) -> Option<Moment> {
        self.entries().due.first().map(|&(moment, _)| moment)
    }

    /// Returns once the table has changed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Duration::from_secs(secs)
    }

    fn lease(number: u128) -> Task {
        (Uuid::from_u128(number), Errand::Lease(Family::V4))
    }

    #[test]
    fn nothing_is_done_for_an_attachment_that_is_gone() {
        let (table, a, b) = (Timetable::default(), lease(1), lease(2));
        for task in [a, (a.0, Errand::Announce(1)), b] {
            table.at(task, Some(at(10)));
        }

        table.forget(a.0);

        assert_eq!(table.take_due(at(10)), [b]);
    }

    #[test]
    fn what_is_due_is_taken_once_and_in_order() {
        let (table, [a, b, c]) = (Timetable::default(), [1, 2, 3].map(lease));
        table.at(a, Some(at(30)));
        table.at(b, Some(at(10)));
        table.at(c, Some(at(20)));
        table.at(c, None);

        assert_eq!(table.next(), Some(at(10)));
        assert_eq!(table.take_due(at(9)), Vec::<Task>::new());
        assert_eq!(table.take_due(at(30)), [b, a]);
        assert_eq!((table.take_due(at(99)), table.next()), (Vec::new(), None));
    }

    #[test]
    fn servers_that_are_silent_are_asked_less_and_less_often() {
        let (table, id) = (Timetable::default(), lease(1));
        let mut rests = |is_urgent| {
            table.later(id, at(0), is_urgent);
            table.next().unwrap().as_secs()
        };

        assert_eq!([true, false, true, false, false].map(&mut rests), [0, 16, 32, 64, 64]);
        table.at(id, None);
        table.later(id, at(0), false);
        assert_eq!(table.next(), Some(at(8)));
    }
}
