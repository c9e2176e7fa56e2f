//! Containers whose labels are to be read, and what was refused of those that were.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::Failure;
use uuid::Uuid;

use crate::engine::declared::derived;

/// Containers whose refusals are remembered. There may be more; those are in the log.
const MOST: usize = 1024;

/// Whose labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Those of every container that runs.
    All(Runtime),
    /// Those of one, by its id.
    Container(Runtime, String),
}

impl Subject {
    /// What it is called in the timetable.
    pub(super) fn key(&self) -> Uuid {
        match self {
            Self::All(runtime) => derived(&[&runtime.to_string()]),
            Self::Container(runtime, id) => derived(&[&runtime.to_string(), id]),
        }
    }
}

/// What was refused of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) runtime: Runtime,
    pub(super) id: String,
    pub(super) name: String,
    /// By the names of labels and variables.
    pub(super) whys: BTreeMap<String, Failure>,
}

/// What is up on it.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// What is to be read. Whoever reads takes it first, so what is told meanwhile is read again.
    due: BTreeMap<Uuid, Subject>,
    refused: BTreeMap<Uuid, Refused>,
}

impl Board {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts up whose labels are to be read.
    pub(super) fn put(&self, subject: Subject) {
        self.entries().due.insert(subject.key(), subject);
    }

    /// Takes down whose labels are read now.
    pub(super) fn take(&self, key: Uuid) -> Option<Subject> {
        self.entries().due.remove(&key)
    }

    /// Remembers what was refused of a container, in place of what was before; gives what is new of it.
    pub(super) fn tell(&self, key: Uuid, refused: Refused) -> Vec<(String, Failure)> {
        let mut entries = self.entries();
        let before = entries.refused.remove(&key);
        let is_known = |label: &String, why: &Failure| {
            before.as_ref().is_some_and(|before| before.whys.get(label) == Some(why))
        };
        let news = refused.whys.iter().filter(|(label, why)| !is_known(label, why));
        let news = news.map(|(label, why)| (label.clone(), why.clone())).collect();
        if !refused.whys.is_empty() && entries.refused.len() < MOST {
            entries.refused.insert(key, refused);
        }
        news
    }

    /// Forgets what was refused of a container that does not run.
    pub(super) fn forget(&self, key: Uuid) {
        self.entries().refused.remove(&key);
    }

    /// Everything that was refused and still is.
    pub(super) fn refused(&self) -> Vec<Refused> {
        self.entries().refused.values().cloned().collect()
    }
}
