//! Drift: what somebody else changed of attachments is seen, told, and repaired.
//!
//! Level-triggered: an event only says where to look. What is there is compared with what the record's plan made, under the lock of
//! the guest, and the steps of the plan that mend the difference are taken again.
//!
//! | what | where |
//! |---|---|
//! | an event, or the time of a sweep, names attachments | `keep` |
//! | when one of them is looked at, and when repaired; which is next | `pace`, `agenda` |
//! | what is there, what differs | `look`, `compare` |
//! | steps that mend it | `remedy`, `mend` |
//! | what has our mark and no record | `orphans` |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use self::agenda::Agenda;
use self::orphans::Orphan;
use super::records::Record;

mod agenda;
mod compare;
mod keep;
mod look;
mod mend;
pub(in crate::engine) mod orphans;
mod pace;
mod remedy;

/// Looks at once. Each visits a guest, and attaches must not wait for them.
const AT_ONCE: usize = 2;

/// What becomes of drift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is told and repaired.
    #[default]
    Repair,
    /// It is told.
    Report,
}

/// How attachments are kept as they were made.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// What becomes of drift.
    pub policy: Policy,
    /// Between two looks at everything, whatever was heard.
    pub sweep: Duration,
}

/// What is known of drift between two looks.
#[derive(Debug)]
pub(super) struct Drifts {
    keeping: Keeping,
    known: Mutex<Known>,
    /// Told when an attachment is due earlier than all were.
    stirred: Notify,
    looks: Semaphore,
}

#[derive(Debug, Default)]
struct Known {
    agenda: Agenda,
    /// Whose links are in a guest, by the number of its namespace.
    guests: BTreeMap<i32, BTreeSet<Uuid>>,
    /// What the last sweep saw.
    orphans: BTreeSet<Orphan>,
}

impl Drifts {
    pub(super) fn new(keeping: Keeping) -> Self {
        let (known, stirred, looks) = (Mutex::default(), Notify::new(), Semaphore::new(AT_ONCE));
        Self { keeping, known, stirred, looks }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one insertion or removal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an attachment that the agent just made looked at by and by. Where its guest is, the event of its host's end
    /// tells, or it is known.
    pub(super) fn made(&self, record: &Record) {
        let id = record.attachment.id;
        let mut known = self.known();
        known.agenda.change(id, |pace| pace.made(Instant::now()));
        if let Some(guest) = record.netns_id {
            known.follow(guest, id);
        }
        drop(known);
        self.stirred.notify_one();
    }

    /// Has attachments looked at soon.
    pub(super) fn stir(&self, ids: impl IntoIterator<Item = Uuid>) {
        let now = Instant::now();
        let mut known = self.known();
        for id in ids {
            known.agenda.change(id, |pace| pace.stir(now));
        }
        drop(known);
        self.stirred.notify_one();
    }

    /// Forgets an attachment that is gone.
    pub(super) fn forget(&self, id: Uuid) {
        self.known().forget(id);
    }
}
