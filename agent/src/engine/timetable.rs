//! Which lease is to be looked at when.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::dhcp::Moment;

/// The rest after the first time that no server answered, and the longest.
const FIRST_REST: Duration = Duration::from_secs(8);
const LONGEST_REST: Duration = Duration::from_secs(64);

/// Attachments with the moments at which their leases want something.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    due: BTreeSet<(Moment, Uuid)>,
    /// How often in a row nothing came of it.
    failures: HashMap<Uuid, u32>,
}

impl Timetable {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Each change is one insertion or removal.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an attachment down for a moment; `None`: for none.
    pub(super) fn at(&self, id: Uuid, moment: Option<Moment>) {
        let mut entries = self.entries();
        entries.failures.remove(&id);
        entries.due.retain(|&(_, other)| other != id);
        entries.due.extend(moment.map(|moment| (moment, id)));
        drop(entries);
        self.changed.notify_one();
    }

    /// Puts an attachment down for later because nothing came of it: at once after the first time if `is_urgent`, then
    /// after 8, 16, 32 and 64 s.
    pub(super) fn later(&self, id: Uuid, now: Moment, is_urgent: bool) {
        let mut entries = self.entries();
        let failures = entries.failures.entry(id).or_default();
        let rest = match *failures {
            0 if is_urgent => Duration::ZERO,
            before => FIRST_REST.saturating_mul(1 << before.min(8)).min(LONGEST_REST),
        };
        *failures = failures.saturating_add(1);
        entries.due.retain(|&(_, other)| other != id);
        entries.due.insert((now + rest, id));
        drop(entries);
        self.changed.notify_one();
    }

    /// Takes out what is due by now.
    pub(super) fn take_due(&self, now: Moment) -> Vec<Uuid> {
        let mut entries = self.entries();
        let later = entries.due.split_off(&(now + Duration::from_nanos(1), Uuid::nil()));
        std::mem::replace(&mut entries.due, later).into_iter().map(|(_, id)| id).collect()
    }

    /// Forgets an attachment that is gone.
    pub(super) fn forget(&self, id: Uuid) {
        let mut entries = self.entries();
        entries.failures.remove(&id);
        entries.due.retain(|&(_, other)| other != id);
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

    #[test]
    fn what_is_due_is_taken_once_and_in_order() {
        let (table, [a, b, c]) = (Timetable::default(), [1, 2, 3].map(Uuid::from_u128));
        table.at(a, Some(at(30)));
        table.at(b, Some(at(10)));
        table.at(c, Some(at(20)));
        table.at(c, None);

        assert_eq!(table.next(), Some(at(10)));
        assert_eq!(table.take_due(at(9)), Vec::<Uuid>::new());
        assert_eq!(table.take_due(at(30)), [b, a]);
        assert_eq!((table.take_due(at(99)), table.next()), (Vec::new(), None));
    }

    #[test]
    fn servers_that_are_silent_are_asked_less_and_less_often() {
        let (table, id) = (Timetable::default(), Uuid::from_u128(1));
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
